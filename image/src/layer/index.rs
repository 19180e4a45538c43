//! The index of a layer: a header and one record after the other.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `HULLIDX` and the version, 1 |
//! | 8..40 | the layer's diffID |
//! | 40..48 | length of the blob in bytes |
//! | 48..56 | length of the records in bytes |
//! | 56..64 | number of records |
//! | 64..68 | CRC-32C of the records |
//! | 68..72 | CRC-32C of the 68 bytes before |
//!
//! Numbers are little-endian; records are [`Entry`] as postcard writes them. Other versions are refused: the store
//! imports such a layer again.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crc_fast::CrcAlgorithm::Crc32Iscsi;

use super::{BLOCK_U64, Entry, Error, MAX_ENTRIES};
use crate::digest::Digest;

const MAGIC: &[u8; 8] = b"HULLIDX\x01";
const HEADER: usize = 72;
/// Largest index, in bytes. It is read into memory as a whole.
const MAX_INDEX: u64 = 1 << 30;
/// Records are handed to the kernel in pieces of this size.
const BUFFER: usize = 256 << 10;

/// An index in memory. Its records are checked as they are read.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    bytes: Vec<u8>,
    diff_id: Digest,
    blob_len: u64,
    entries: u64,
}

impl Index {
    /// Reads the index at `path` and checks its header and checksums.
    ///
    /// # Errors
    /// When it cannot be read or is no index of this version.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |e| Error::io("read", path, e);
        let length = fs::metadata(path).map_err(failed)?.len();
        if length > MAX_INDEX {
            let what = format!("it has {length} bytes, more than {MAX_INDEX}");
            return Err(damaged(path, what));
        }
        Self::parse(path, fs::read(path).map_err(failed)?)
    }

    pub(super) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        let header = Header::parse(&bytes).map_err(|what| damaged(path, what.to_owned()))?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            diff_id: header.diff_id,
            blob_len: header.blob_len,
            entries: header.entries,
        })
    }

    /// Gives bytes of fuzzing a beginning that is accepted: the mark, the length and the checksums.
    #[cfg(fuzzing)]
    pub(crate) fn mend(bytes: &mut Vec<u8>) {
        if bytes.len() < HEADER {
            bytes.resize(HEADER, 0);
        }
        let (header, body) = bytes.split_at_mut(HEADER);
        header[..8].copy_from_slice(MAGIC);
        header[48..56].copy_from_slice(&(body.len() as u64).to_le_bytes());
        header[64..68].copy_from_slice(&crc32c(body).to_le_bytes());
        let sum = crc32c(&header[..HEADER - 4]);
        header[HEADER - 4..].copy_from_slice(&sum.to_le_bytes());
    }

    /// The layer that this is the index of.
    #[must_use]
    pub fn diff_id(&self) -> Digest {
        self.diff_id
    }

    /// Length of the layer's blob: a multiple of [`BLOCK`](super::BLOCK), in bytes.
    #[must_use]
    pub fn blob_len(&self) -> u64 {
        self.blob_len
    }

    /// The records in the order of the archive. After an error there are no more.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry<'_>, Error>> {
        let mut rest = self.bytes.get(HEADER..).unwrap_or_default();
        let mut left = self.entries;
        std::iter::from_fn(move || {
            if left == 0 && rest.is_empty() {
                return None;
            }
            let entry = self.take(rest, left);
            (rest, left) = match &entry {
                Ok((_, after)) => (*after, left - 1),
                Err(_) => (&[][..], 0),
            };
            Some(entry.map(|(entry, _)| entry))
        })
    }

    fn take<'a>(&self, rest: &'a [u8], left: u64) -> Result<(Entry<'a>, &'a [u8]), Error> {
        let damaged = |what: &str| damaged(&self.path, what.to_owned());
        if left == 0 {
            return Err(damaged("there is something after its last record"));
        }
        let (entry, after) = postcard::take_from_bytes::<Entry<'_>>(rest)
            .map_err(|_| damaged("a record cannot be read"))?;
        entry.check(self.blob_len / BLOCK_U64).map_err(damaged)?;
        Ok((entry, after))
    }
}

struct Header {
    diff_id: Digest,
    blob_len: u64,
    entries: u64,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let (header, body) = bytes.split_at_checked(HEADER).ok_or("it is too short")?;
        if !header.starts_with(MAGIC) {
            return Err("it is not an index of this version of Hull");
        }
        let mut fields = header.get(MAGIC.len()..).unwrap_or_default();
        let truncated = "it is too short";
        let diff_id: [u8; 32] = take(&mut fields).ok_or(truncated)?;
        let blob_len = u64::from_le_bytes(take(&mut fields).ok_or(truncated)?);
        let body_len = u64::from_le_bytes(take(&mut fields).ok_or(truncated)?);
        let entries = u64::from_le_bytes(take(&mut fields).ok_or(truncated)?);
        let body_crc = u32::from_le_bytes(take(&mut fields).ok_or(truncated)?);
        let header_crc = u32::from_le_bytes(take(&mut fields).ok_or(truncated)?);
        if crc32c(header.get(..HEADER - 4).unwrap_or_default()) != header_crc {
            return Err("the checksum of its header is wrong");
        }
        if u64::try_from(body.len()) != Ok(body_len) {
            return Err("it does not have the length that it says");
        }
        if crc32c(body) != body_crc {
            return Err("the checksum of its records is wrong");
        }
        if entries > MAX_ENTRIES || blob_len % BLOCK_U64 != 0 || blob_len > BLOCK_U64 << 32 {
            return Err("its header has impossible numbers");
        }
        Ok(Self {
            diff_id: Digest::from_bytes(diff_id),
            blob_len,
            entries,
        })
    }
}

/// Writes an index; nothing that counts is there before [`IndexWriter::finish`].
pub(super) struct IndexWriter {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    crc: crc_fast::Digest,
    entries: u64,
    length: u64,
}

impl IndexWriter {
    /// Creates the file, which must not exist.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let mut file = File::create_new(path).map_err(|e| Error::io("create", path, e))?;
        file.write_all(&[0; HEADER])
            .map_err(|e| Error::io("write", path, e))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            buffer: Vec::with_capacity(BUFFER),
            crc: crc_fast::Digest::new(Crc32Iscsi),
            entries: 0,
            length: 0,
        })
    }

    /// Adds a record.
    pub(super) fn push(&mut self, entry: &Entry<'_>) -> Result<(), Error> {
        if self.entries >= MAX_ENTRIES {
            return Err(Error::TooLarge {
                limit: MAX_ENTRIES,
                what: "files",
            });
        }
        self.entries += 1;
        postcard::to_io(entry, &mut self.buffer)
            .map_err(|e| Error::io("write", &self.path, std::io::Error::other(e)))?;
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    /// How many records there are so far.
    pub(super) fn count(&self) -> u64 {
        self.entries
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.crc.update(&self.buffer);
        self.length += u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        if self.length > MAX_INDEX - BLOCK_U64 {
            return Err(Error::TooLarge {
                limit: MAX_INDEX,
                what: "bytes of metadata",
            });
        }
        self.file
            .write_all(&self.buffer)
            .map_err(|e| Error::io("write", &self.path, e))?;
        self.buffer.clear();
        Ok(())
    }

    /// Completes the index and makes it durable. Returns its records' number and its length in bytes.
    pub(super) fn finish(mut self, diff_id: &Digest, blob_len: u64) -> Result<(u64, u64), Error> {
        self.flush()?;
        let body_crc = u32::try_from(self.crc.finalize()).unwrap_or(u32::MAX);
        let mut header = Vec::with_capacity(HEADER);
        header.extend(MAGIC);
        header.extend(diff_id.as_bytes());
        header.extend(blob_len.to_le_bytes());
        header.extend(self.length.to_le_bytes());
        header.extend(self.entries.to_le_bytes());
        header.extend(body_crc.to_le_bytes());
        header.extend(crc32c(&header).to_le_bytes());
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header))
            .and_then(|()| self.file.sync_all())
            .map_err(|e| Error::io("write", &self.path, e))?;
        Ok((self.entries, self.length + HEADER as u64))
    }
}

/// CRC-32C as iSCSI and the kernel's `crc32c` tools have it.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    u32::try_from(crc_fast::checksum(Crc32Iscsi, bytes)).unwrap_or(u32::MAX)
}

fn take<const N: usize>(fields: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = fields.split_first_chunk()?;
    *fields = rest;
    Some(*first)
}

fn damaged(path: &Path, what: String) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        what,
    }
}
