//! From a blob and an index back to a tar stream.
//!
//! With its headers it is the stream that came. A layer that was imported before there were headers is written in one canonical
//! form ([`write_canonical`]), whose digest is another one than the layer's.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::canonical;
use super::headers::{Headers, Step, damaged};
use super::{BLOCK_U64, Content, Entry, Error, Index, Kind};
use crate::digest::{Digest, Hasher};

/// Bytes that are read at once.
const BUFFER: usize = 256 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// How long the tar stream is that [`write_tar`] makes, without making it.
///
/// # Errors
/// When the headers cannot be read, or are not those of `layer`.
pub fn tar_len(headers: &Path, layer: &Digest) -> Result<u64, Error> {
    let opened = Headers::open(headers)?;
    if opened.diff_id() != *layer {
        return Err(damaged(headers, "it belongs to another layer"));
    }
    Ok(opened.tar_len())
}

/// Writes the tar stream that a layer was imported from, byte for byte. The digest is checked on the way.
///
/// # Errors
/// When a file of the layer cannot be read or is damaged, or `out` fails. What was written then is no layer.
pub fn write_tar(
    blob: &Path,
    index: &Path,
    headers: &Path,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut steps = Headers::open(headers)?;
    let index = Index::read(index)?;
    let blob = Blob::open(blob)?;
    let mut out = Out::new(out, steps.tar_len());
    let mut entries = index.entries().enumerate();
    let mut present: Option<(u64, Entry<'_>)> = None;
    while let Some(step) = steps.next()? {
        let (entry, offset, length) = match step {
            Step::Bytes(bytes) => {
                out.write(bytes)?;
                continue;
            }
            Step::Content {
                entry,
                offset,
                length,
            } => (entry, offset, length),
        };
        while present.as_ref().is_none_or(|(at, _)| *at < entry) {
            let (at, next) = entries
                .next()
                .ok_or_else(|| damaged(headers, "it names a file that the index lacks"))?;
            present = Some((u64::try_from(at).unwrap_or(u64::MAX), next?));
        }
        match present.as_ref().map(|(_, entry)| &entry.kind) {
            Some(Kind::File { size, content })
                if offset.checked_add(length).is_some_and(|end| end <= *size) =>
            {
                blob.copy(content, offset, length, &mut out)?;
            }
            _ => return Err(damaged(headers, "it names what is not in the index")),
        }
    }
    let (digest, length) = out.finish();
    if digest != steps.diff_id() || digest != index.diff_id() || length != steps.tar_len() {
        return Err(damaged(
            headers,
            "with the layer's contents it does not make the layer that it says",
        ));
    }
    Ok(())
}

/// Writes a tar archive of a layer's members as the index has them. The same layer always makes the same bytes, but not those
/// that it came as. Returns their digest and number.
///
/// # Errors
/// When a file of the layer cannot be read or is damaged, or `out` fails.
pub fn write_canonical(
    blob: &Path,
    index: &Path,
    out: &mut dyn Write,
) -> Result<(Digest, u64), Error> {
    let index = Index::read(index)?;
    let blob = Blob::open(blob)?;
    let mut out = Out::new(out, u64::MAX);
    for entry in index.entries() {
        let entry = entry?;
        out.write(&canonical::header(&entry)?)?;
        if let Kind::File { size, content } = &entry.kind {
            blob.copy(content, 0, *size, &mut out)?;
            out.zeros(size.wrapping_neg() % 512)?;
        }
    }
    out.zeros(1024)?;
    Ok(out.finish())
}

/// Where the stream goes, and its digest.
struct Out<'a> {
    inner: &'a mut dyn Write,
    hasher: Hasher,
    length: u64,
    limit: u64,
}

impl<'a> Out<'a> {
    fn new(inner: &'a mut dyn Write, limit: u64) -> Self {
        Self {
            inner,
            hasher: Hasher::default(),
            length: 0,
            limit,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.length = self.length.saturating_add(count);
        if self.length > self.limit {
            return Err(Error::TooLarge {
                limit: self.limit,
                what: "bytes of headers and contents, which it had when it came",
            });
        }
        self.hasher.update(bytes);
        self.inner.write_all(bytes).map_err(Error::Output)
    }

    fn zeros(&mut self, mut count: u64) -> Result<(), Error> {
        while count > 0 {
            let piece = usize::try_from(count).map_or(ZEROS.len(), |count| count.min(ZEROS.len()));
            self.write(ZEROS.get(..piece).unwrap_or_default())?;
            count -= u64::try_from(piece).unwrap_or(count);
        }
        Ok(())
    }

    fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.length)
    }
}

/// The contents of a layer.
struct Blob<'a> {
    file: File,
    path: &'a Path,
}

impl<'a> Blob<'a> {
    fn open(path: &'a Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
        Ok(Self { file, path })
    }

    /// Copies `length` bytes of a file from `offset` on; the caller has checked that they are in it.
    fn copy(
        &self,
        content: &Content<'_>,
        offset: u64,
        length: u64,
        out: &mut Out<'_>,
    ) -> Result<(), Error> {
        let end = offset + length;
        let (bits, runs) = match content {
            Content::Inline(bytes) => {
                let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
                let part = range.and_then(|(from, to)| bytes.get(from..to));
                return out.write(part.unwrap_or_default());
            }
            Content::Stored { bits, runs } => (*bits, runs),
        };
        let mut position = offset;
        for run in runs {
            // The index has checked that none of this overflows.
            let first = u64::from(run.granule) << bits;
            let last = (u64::from(run.granule) + u64::from(run.granules)) << bits;
            let (from, to) = (
                first.saturating_mul(BLOCK_U64).max(position),
                last.saturating_mul(BLOCK_U64).min(end),
            );
            if from >= to {
                continue;
            }
            out.zeros(from - position)?;
            let place = u64::from(run.block) * BLOCK_U64 + (from - first * BLOCK_U64);
            self.copy_range(place, to - from, out)?;
            position = to;
        }
        out.zeros(end.saturating_sub(position))
    }

    fn copy_range(&self, mut place: u64, mut length: u64, out: &mut Out<'_>) -> Result<(), Error> {
        let mut buffer = vec![0; BUFFER.min(usize::try_from(length).unwrap_or(BUFFER))];
        while length > 0 {
            let want = usize::try_from(length).map_or(buffer.len(), |left| left.min(buffer.len()));
            let space = buffer.get_mut(..want).unwrap_or_default();
            self.file
                .read_exact_at(space, place)
                .map_err(|e| match e.kind() {
                    io::ErrorKind::UnexpectedEof => damaged(self.path, "it is too short"),
                    _ => Error::io("read", self.path, e),
                })?;
            out.write(space)?;
            let count = u64::try_from(want).unwrap_or(length);
            place += count;
            length -= count;
        }
        Ok(())
    }
}
