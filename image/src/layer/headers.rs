//! What a layer's tar stream has beside the contents of files: headers, padding, and whatever follows the archive.
//!
//! With it the stream can be made again byte for byte ([`super::write_tar`]), so that a layer that is pushed or saved has the
//! diffID that it came with. It is written while the layer streams in, compressed, since headers resemble each other.
//!
//! | bytes | what |
//! |---|---|
//! | 0..7 | `HULLTAR` |
//! | 7 | the version, 1 |
//! | 8..40 | the layer's diffID |
//! | 40..48 | length of the tar stream in bytes, little-endian |
//! | 48..52 | CRC-32C of the 48 bytes before |
//! | 52.. | steps, as one zstd frame with a checksum |
//!
//! A step is a byte that says its kind, and numbers in LEB128: 1, a length and so many bytes of the stream; or 2, how many records
//! further in the index a file is, an offset in that file, and how many of its bytes come next.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use super::index::crc32c;
use super::{Error, MAX_ENTRIES};
use crate::digest::Digest;

const MAGIC: &[u8; 8] = b"HULLTAR\x01";
const HEADER: usize = 52;
/// Most bytes of one step of kind 1.
const MAX_BYTES: usize = 64 << 10;
/// Headers come down to a thirtieth with this, and more would not be worth the time.
const LEVEL: i32 = 3;
/// Largest window that a reader accepts, as a power of two; more than the level above uses.
const WINDOW: u32 = 23;
const BYTES: u8 = 1;
const CONTENT: u8 = 2;

/// A piece of the tar stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Bytes of a file.
    Content {
        /// Its record in the index, counted from 0; never less than before.
        entry: u64,
        /// In the file, in bytes.
        offset: u64,
        /// In bytes.
        length: u64,
    },
}

/// Headers that are being written; nothing that counts is there before [`HeadersWriter::finish`].
pub(super) struct HeadersWriter {
    encoder: Encoder<'static, File>,
    path: PathBuf,
    bytes: Vec<u8>,
    step: Vec<u8>,
    entry: u64,
}

impl HeadersWriter {
    /// Creates the file, which must not exist.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let encoder = || {
            let mut file = File::create_new(path)?;
            file.write_all(&[0; HEADER])?;
            let mut encoder = Encoder::new(file, LEVEL)?;
            encoder.include_checksum(true)?;
            Ok(encoder)
        };
        Ok(Self {
            encoder: encoder().map_err(|e| Error::io("create", path, e))?,
            path: path.to_owned(),
            bytes: Vec::with_capacity(MAX_BYTES),
            step: Vec::new(),
            entry: 0,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends bytes of the stream. They are kept until [`HeadersWriter::spill`] or the next content.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes what was appended if it is more than a step may have.
    pub(super) fn spill(&mut self) -> io::Result<()> {
        if self.bytes.len() >= MAX_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Appends a part of a file.
    pub(super) fn content(&mut self, entry: u64, offset: u64, length: u64) -> Result<(), Error> {
        let written = self.flush().and_then(|()| {
            self.step.clear();
            self.step.push(CONTENT);
            for number in [entry.saturating_sub(self.entry), offset, length] {
                put_number(&mut self.step, number);
            }
            self.encoder.write_all(&self.step)
        });
        self.entry = entry;
        written.map_err(|e| Error::io("write", &self.path, e))
    }

    fn flush(&mut self) -> io::Result<()> {
        for piece in self.bytes.chunks(MAX_BYTES) {
            self.step.clear();
            self.step.push(BYTES);
            put_number(&mut self.step, u64::try_from(piece.len()).unwrap_or(0));
            self.encoder.write_all(&self.step)?;
            self.encoder.write_all(piece)?;
        }
        self.bytes.clear();
        Ok(())
    }

    /// Completes the file and makes it durable. Returns its length.
    pub(super) fn finish(mut self, diff_id: &Digest, tar_len: u64) -> Result<u64, Error> {
        let path = self.path.clone();
        let mut header = Vec::with_capacity(HEADER);
        header.extend(MAGIC);
        header.extend(diff_id.as_bytes());
        header.extend(tar_len.to_le_bytes());
        header.extend(crc32c(&header).to_le_bytes());
        let written = self.flush().and_then(|()| {
            let mut file = self.encoder.finish()?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
            file.sync_all()?;
            Ok(file.metadata()?.len())
        });
        written.map_err(|e| Error::io("write", &path, e))
    }
}

/// The headers of a layer of the store, whose steps are read one by one.
pub(super) struct Headers {
    steps: Decoder<'static, BufReader<File>>,
    path: PathBuf,
    diff_id: Digest,
    tar_len: u64,
    bytes: Vec<u8>,
    entry: u64,
}

impl Headers {
    /// Opens the file at `path` and checks its beginning.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |e| Error::io("read", path, e);
        let mut file = File::open(path).map_err(failed)?;
        let mut header = [0; HEADER];
        file.read_exact(&mut header).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => damaged(path, "it is too short"),
            _ => failed(e),
        })?;
        let (diff_id, tar_len) = parse(&header).map_err(|what| damaged(path, what))?;
        let mut steps = Decoder::new(file).map_err(failed)?;
        steps.window_log_max(WINDOW).map_err(failed)?;
        Ok(Self {
            steps,
            path: path.to_owned(),
            diff_id,
            tar_len,
            bytes: Vec::new(),
            entry: 0,
        })
    }

    /// The layer that these are the headers of.
    pub(super) fn diff_id(&self) -> Digest {
        self.diff_id
    }

    /// Length of the tar stream in bytes.
    pub(super) fn tar_len(&self) -> u64 {
        self.tar_len
    }

    /// The next step; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Step<'_>>, Error> {
        let mut kind = [0];
        if self.read(&mut kind, true)? == 0 {
            return Ok(None);
        }
        match kind {
            [BYTES] => {
                let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
                if length > MAX_BYTES {
                    return Err(damaged(&self.path, "a step of it is too long"));
                }
                let mut bytes = std::mem::take(&mut self.bytes);
                bytes.resize(length, 0);
                self.read(&mut bytes, false)?;
                self.bytes = bytes;
                Ok(Some(Step::Bytes(&self.bytes)))
            }
            [CONTENT] => {
                let (ahead, offset, length) = (self.number()?, self.number()?, self.number()?);
                let entry = self.entry.checked_add(ahead);
                self.entry = entry
                    .filter(|entry| *entry < MAX_ENTRIES)
                    .ok_or_else(|| damaged(&self.path, "it names a file that cannot be"))?;
                Ok(Some(Step::Content {
                    entry: self.entry,
                    offset,
                    length,
                }))
            }
            _ => Err(damaged(&self.path, "it has a step of an unknown kind")),
        }
    }

    fn number(&mut self) -> Result<u64, Error> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.read(&mut byte, false)?;
            let [byte] = byte;
            let bits = u64::from(byte & 0x7f);
            if bits > u64::MAX >> shift {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged(&self.path, "a number in it is too large"))
    }

    /// Fills `buffer`. Where the steps may end, nothing at all is all right, too.
    fn read(&mut self, buffer: &mut [u8], may_end: bool) -> Result<usize, Error> {
        let mut filled = 0;
        while let Some(space) = buffer.get_mut(filled..).filter(|space| !space.is_empty()) {
            match self.steps.read(space) {
                Ok(0) if may_end && filled == 0 => return Ok(0),
                Ok(0) => return Err(damaged(&self.path, "it ends within a step")),
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(damaged(&self.path, &format!("it cannot be unpacked ({e})"))),
            }
        }
        Ok(filled)
    }
}

fn parse(header: &[u8; HEADER]) -> Result<(Digest, u64), &'static str> {
    let short = "it is too short";
    let rest = header
        .strip_prefix(MAGIC)
        .ok_or("it is not of this version of Hull")?;
    let (diff_id, rest) = rest.split_first_chunk().ok_or(short)?;
    let (tar_len, rest) = rest.split_first_chunk().ok_or(short)?;
    let (crc, _) = rest.split_first_chunk().ok_or(short)?;
    if crc32c(header.get(..HEADER - 4).unwrap_or_default()) != u32::from_le_bytes(*crc) {
        return Err("the checksum of its header is wrong");
    }
    Ok((Digest::from_bytes(*diff_id), u64::from_le_bytes(*tar_len)))
}

fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    to.push(u8::try_from(number).unwrap_or(0));
}

pub(super) fn damaged(path: &Path, what: &str) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}
