//! Files of the container: what the agent does with them for `cp`, `export`, `diff` and `commit`.

use serde::{Deserialize, Serialize};

use crate::configure::Clock;

/// The longest path, in bytes; Linux takes no longer one.
pub const MAX_PATH: usize = 4096;

/// Something to do with files of a configured machine, whether its container runs or never did. It is a process of the agent's own, with
/// streams as any other. Paths are resolved inside the container's root, as the machine was configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Files {
    /// What a path is. Standard output is a [`FileStat`], encoded by [`FileStat::encode`]. A link at the end of the path is not followed
    /// unless a slash comes after it.
    Stat {
        /// Which.
        path: String,
    },
    /// A file, or a directory with all that is in it, as a tar archive on standard output. The last component of the path is the first
    /// of the names in it.
    Read {
        /// Which.
        path: String,
    },
    /// Unpacks the tar archive that comes by standard input.
    Write(Write),
    /// How the root differs from the image. Standard output is a sequence of [`Change`]s, encoded by [`Change::encode`].
    Changes,
    /// The same as the tar archive of an image's layer (OCI image specification, "Layer"), on standard output.
    Layer {
        /// The container's processes are frozen meanwhile, so that the layer is what there was at one moment.
        frozen: bool,
    },
    /// All of the root as a tar archive on standard output, without what is mounted in it.
    Export,
}

/// Where and how an archive is unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// A directory, which must be there.
    pub path: String,
    /// A directory is not replaced by something else, nor something else by a directory.
    pub no_overwrite_dir_non_dir: bool,
    /// To whom all that is unpacked belongs, as Docker takes it (`name`, `uid:gid`...); `None` for those that the archive names.
    pub owner: Option<String>,
}

/// What a path is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// The last component of the path that was asked for; `/` for the root.
    pub name: String,
    /// Bytes, as `stat(2)` has it.
    pub size: u64,
    /// Kind and permissions, as `stat(2)` has them; [`go_mode`](FileStat::go_mode) is what Docker says.
    pub mode: u32,
    /// When its content changed last.
    pub modified: Clock,
    /// Where a symbolic link leads in the container, when all links on the way are followed; empty for anything else.
    pub link_target: String,
}

/// The bytes are no [`FileStat`], or no [`Change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent in the guest sent something else than {0}")]
pub struct Malformed(&'static str);

impl FileStat {
    /// As it travels.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Serialising into memory fails for no value of this type.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// The whole of standard output.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        postcard::from_bytes(bytes).map_err(|_| Malformed("what a file is"))
    }

    /// The mode as Go's `os.FileMode` has it, which is how Docker says it.
    #[must_use]
    pub fn go_mode(&self) -> u32 {
        const KINDS: [(u32, u32); 6] = [
            (0o040_000, 1 << 31),
            (0o120_000, 1 << 27),
            (0o060_000, 1 << 26),
            (0o020_000, 1 << 26 | 1 << 21),
            (0o010_000, 1 << 25),
            (0o140_000, 1 << 24),
        ];
        const BITS: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
        let kind = KINDS.iter().find(|(raw, _)| self.mode & 0o170_000 == *raw);
        let bits = BITS.iter().filter(|(raw, _)| self.mode & raw != 0);
        bits.fold(self.mode & 0o777, |mode, (_, go)| mode | go) | kind.map_or(0, |(_, go)| *go)
    }
}

/// How something differs from the image. The numbers are Docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It, or something in it, is not as it was.
    Modified = 0,
    /// The image does not have it.
    Added = 1,
    /// Only the image has it.
    Deleted = 2,
}

/// Something that differs from the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// Where, absolute; any bytes but zero.
    pub path: Vec<u8>,
}

impl Change {
    /// Appends it as it travels: the kind, the path, a zero byte.
    pub fn encode(&self, output: &mut Vec<u8>) {
        output.push(self.kind as u8);
        output.extend_from_slice(&self.path);
        output.push(0);
    }
}

/// Takes changes out of standard output, which comes in pieces.
#[derive(Debug, Default)]
pub struct Changes {
    incoming: Vec<u8>,
}

impl Changes {
    /// Takes the next piece and returns the changes that are whole.
    ///
    /// # Errors
    /// It is something else.
    pub fn received(&mut self, bytes: &[u8]) -> Result<Vec<Change>, Malformed> {
        const MALFORMED: Malformed = Malformed("changes of files");
        self.incoming.extend_from_slice(bytes);
        let mut changes = Vec::new();
        let mut rest = self.incoming.as_slice();
        while let Some((kind, after)) = rest.split_first() {
            let kind = match kind {
                0 => ChangeKind::Modified,
                1 => ChangeKind::Added,
                2 => ChangeKind::Deleted,
                _ => return Err(MALFORMED),
            };
            let Some(length) = after.iter().position(|byte| *byte == 0) else {
                if after.len() > MAX_PATH {
                    return Err(MALFORMED);
                }
                break;
            };
            let (path, after) = after.split_at(length);
            if length > MAX_PATH || !path.starts_with(b"/") {
                return Err(MALFORMED);
            }
            let path = path.to_vec();
            changes.push(Change { kind, path });
            rest = after.get(1..).unwrap_or_default();
        }
        self.incoming = rest.to_vec();
        Ok(changes)
    }

    /// Whether nothing is left over, as it must be at the end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.incoming.is_empty()
    }
}

#[cfg(test)]
mod tests;
