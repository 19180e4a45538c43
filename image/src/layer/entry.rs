//! Records of an index. They borrow from its bytes, so reading one costs next to nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::path::components;
use super::{BLOCK_U64, INLINE_MAX, MAX_FILE, MAX_NAME, MAX_PATH, MAX_XATTRS};

/// One member of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// Where it is: normalised, without a leading `/`; empty is the root. For a whiteout, the path which it hides.
    #[serde(borrow, with = "bytes")]
    pub path: &'a [u8],
    /// Owner, permissions, time. Meaningless for hard links and whiteouts.
    pub meta: Meta,
    /// Extended attributes by full name, sorted, each name once.
    #[serde(borrow)]
    pub xattrs: Vec<(Bytes<'a>, Bytes<'a>)>,
    /// What it is.
    #[serde(borrow)]
    pub kind: Kind<'a>,
}

/// What all kinds of files have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The lower twelve bits of the mode.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change, in seconds since 1970; may be negative.
    pub mtime: i64,
    /// Nanoseconds after that, below 1,000,000,000.
    pub nanos: u32,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind<'a> {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
        /// Where its bytes are.
        #[serde(borrow)]
        content: Content<'a>,
    },
    /// A symbolic link to this path, which is never empty.
    Symlink(#[serde(borrow, with = "bytes")] &'a [u8]),
    /// Another name of the file at this normalised path.
    HardLink(#[serde(borrow, with = "bytes")] &'a [u8]),
    /// A character device: major (12 bits) and minor (20 bits).
    Character(u32, u32),
    /// A block device: major (12 bits) and minor (20 bits).
    Block(u32, u32),
    /// A named pipe.
    Fifo,
    /// Hides a path of the layers below.
    Whiteout,
    /// Hides all that the layers below have in a directory.
    Opaque,
}

/// Where the bytes of a regular file are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content<'a> {
    /// Here. Not more than [`INLINE_MAX`](super::INLINE_MAX).
    Inline(#[serde(borrow, with = "bytes")] &'a [u8]),
    /// In the blob, in granules of `1 << bits` blocks, of which those that are all zero are left out.
    Stored {
        /// Logarithm of the blocks in a granule, at most 31.
        bits: u8,
        /// Ascending, without overlap.
        runs: Vec<Run>,
    },
}

/// Granules that are beside each other in the file and in the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The first granule, counted in the file.
    pub granule: u32,
    /// How many granules. The last one of a file ends with the file's last block.
    pub granules: u32,
    /// Where it begins in the blob, in blocks.
    pub block: u32,
}

/// Bytes that are written and read as a whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes<'a>(#[serde(borrow, with = "bytes")] pub &'a [u8]);

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Slices go through serde as bytes, not one by one.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de: 'a, 'a, D: Deserializer<'de>>(
        from: D,
    ) -> Result<&'a [u8], D::Error> {
        <&[u8]>::deserialize(from)
    }
}

impl Entry<'_> {
    /// Checks everything that readers rely on. `blob_blocks` is the length of the layer's blob.
    pub(super) fn check(&self, blob_blocks: u64) -> Result<(), &'static str> {
        let is_opaque = matches!(self.kind, Kind::Directory | Kind::Opaque);
        if !normal(self.path) || (self.path.is_empty() && !is_opaque) {
            return Err("a record has an impossible path");
        }
        if self.meta.mode > 0o7777 || self.meta.nanos >= 1_000_000_000 {
            return Err("a record has an impossible mode or time");
        }
        check_xattrs(&self.xattrs)?;
        match &self.kind {
            Kind::File { size, content } => content.check(*size, blob_blocks),
            Kind::Symlink(target) if target.is_empty() || target.len() > MAX_PATH => {
                Err("a symbolic link has an impossible target")
            }
            Kind::HardLink(target) if target.is_empty() || !normal(target) => {
                Err("a hard link has an impossible target")
            }
            Kind::Character(major, minor) | Kind::Block(major, minor)
                if *major > 0xfff || *minor > 0xf_ffff =>
            {
                Err("a device has an impossible number")
            }
            _ => Ok(()),
        }
    }
}

impl Content<'_> {
    fn check(&self, size: u64, blob_blocks: u64) -> Result<(), &'static str> {
        let (bits, runs) = match self {
            Self::Inline(bytes) => {
                let fits = bytes.len() <= INLINE_MAX && u64::try_from(bytes.len()) == Ok(size);
                return fits
                    .then_some(())
                    .ok_or("a small file has an impossible size");
            }
            Self::Stored { bits, runs } => (*bits, runs),
        };
        if size > MAX_FILE || bits > 31 {
            return Err("a file has an impossible size");
        }
        let blocks = size.div_ceil(BLOCK_U64);
        let mut end = 0;
        for run in runs {
            let first = u64::from(run.granule);
            if first < end || run.granules == 0 {
                return Err("the parts of a file are out of order");
            }
            end = first + u64::from(run.granules);
            if end > 1 << 32 {
                return Err("a part of a file is beyond its end");
            }
            let from = first << bits;
            let to = (end << bits).min(blocks);
            if from >= to || (end - 1) << bits >= blocks {
                return Err("a part of a file is beyond its end");
            }
            if u64::from(run.block) + (to - from) > blob_blocks {
                return Err("a part of a file is beyond the end of the blob");
            }
        }
        Ok(())
    }
}

fn check_xattrs(xattrs: &[(Bytes<'_>, Bytes<'_>)]) -> Result<(), &'static str> {
    let sizes = xattrs
        .iter()
        .map(|(name, value)| name.0.len() + value.0.len());
    if sizes.sum::<usize>() > MAX_XATTRS {
        return Err("a record has too many extended attributes");
    }
    let sorted = xattrs.is_sorted_by(|(a, _), (b, _)| a < b);
    let possible = |(name, value): &(Bytes<'_>, Bytes<'_>)| {
        (1..=MAX_NAME).contains(&name.0.len())
            && !name.0.contains(&0)
            && value.0.len() <= usize::from(u16::MAX)
    };
    if !sorted || !xattrs.iter().all(possible) {
        return Err("a record has impossible extended attributes");
    }
    Ok(())
}

/// Whether `path` is one that `normalise` returns.
fn normal(path: &[u8]) -> bool {
    let name =
        |name: &[u8]| !name.is_empty() && name.len() <= MAX_NAME && name != b"." && name != b"..";
    path.is_empty()
        || (path.len() <= MAX_PATH
            && !path.contains(&0)
            && path.split(|byte| *byte == b'/').all(name)
            && components(path).next().is_some())
}
