//! The state file: a header that every version can read, and a body whose shape the header's version says.
//!
//! ```text
//! offset  bytes
//!      0      8  "HULLSNAP"
//!      8      4  version of the body's shape
//!     12      4  bytes of the header; a later one may be longer, with its checksum still at the end
//!     16      8  bytes of the body
//!     24      8  CRC-64 of the body
//!     32     24  version of the program that wrote it, padded with zeros
//!     56      8  CRC-64 of the header before it
//! ```
//!
//! All numbers are little-endian. The body of version 1 is in [`v1`], written by postcard. A file comes from anywhere: its length is limited
//! before it is read, its checksums are compared before anything of the body is parsed, and what was parsed is checked by whoever
//! makes something of it.

mod crc;
#[cfg(test)]
mod tests;
pub mod v1;

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;

pub(super) use crc::crc64;

pub use v1::Snapshot;

const MAGIC: [u8; 8] = *b"HULLSNAP";
/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// Bytes of the header that is written.
const HEADER: usize = 64;
/// No later header is longer.
const LONGEST_HEADER: usize = 4096;
/// The most bytes of a body. Most of it is what guests know of shares.
pub const LONGEST: u64 = 256 << 20;

/// What is where in the header; the checksum is at its end.
const SHAPE: Range<usize> = 8..12;
const LENGTH: Range<usize> = 12..16;
const BODY_LENGTH: Range<usize> = 16..24;
const BODY_SUM: Range<usize> = 24..32;
const PROGRAM: Range<usize> = 32..56;
/// Bytes of a checksum.
const SUM: usize = 8;

/// Why a file is no snapshot that this program can load.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It begins with something else.
    #[error(
        "it is no snapshot of Hull's; name the file that /snapshot/create wrote as snapshot_path"
    )]
    Foreign,
    /// It ends too early.
    #[error(
        "it is cut off: it has {there} bytes, and should have {wanted}; take the snapshot again"
    )]
    CutOff {
        /// Bytes that are there.
        there: u64,
        /// Bytes that should be.
        wanted: u64,
    },
    /// It goes on behind its end.
    #[error("it has bytes behind its end; take the snapshot again")]
    Longer,
    /// A checksum is wrong.
    #[error("its {0} was altered or is damaged: the checksum is wrong; take the snapshot again")]
    Altered(&'static str),
    /// Another version wrote it.
    #[error(
        "hull-vmm {program} wrote it in format {version}, and this hull-vmm reads format {VERSION}; load it with that version"
    )]
    Version {
        /// Of the format.
        version: u32,
        /// The program's.
        program: String,
    },
    /// More than is read.
    #[error("it says that it has {0} bytes, more than any snapshot ({LONGEST})")]
    TooLong(u64),
    /// More than is written.
    #[error(
        "the machine's state has {0} bytes, more than a snapshot holds ({LONGEST}); its guest knows too many files of shares: unmount some"
    )]
    TooMuch(u64),
    /// The checksums are right, and yet nothing comes of it.
    #[error("its content makes no sense: {0}")]
    Content(String),
    /// The host's answer.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// The host's answer.
    #[error("it cannot be written")]
    Write(#[source] io::Error),
}

/// Writes a snapshot of this version. The file is empty.
///
/// # Errors
/// If it is too much, or the host does not take it.
pub fn write(snapshot: &Snapshot, file: &mut impl Write) -> Result<(), FormatError> {
    let body = postcard::to_stdvec(snapshot);
    let body = body.map_err(|error| FormatError::Content(error.to_string()))?;
    if body.len() as u64 > LONGEST {
        return Err(FormatError::TooMuch(body.len() as u64));
    }
    file.write_all(&header(&body)).map_err(FormatError::Write)?;
    file.write_all(&body).map_err(FormatError::Write)
}

/// The header of a body.
fn header(body: &[u8]) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend(u32::try_from(HEADER).unwrap_or_default().to_le_bytes());
    header.extend((body.len() as u64).to_le_bytes());
    header.extend(crc64(body).to_le_bytes());
    header.extend(crate::api::VERSION.bytes().take(PROGRAM.len()));
    header.resize(PROGRAM.end, 0);
    header.extend(crc64(&header).to_le_bytes());
    header
}

/// Reads a snapshot, of which nothing is checked but that it is whole.
///
/// # Errors
/// Why there is none.
pub fn read(file: &mut impl Read) -> Result<Snapshot, FormatError> {
    let header = Header::read(file)?;
    if header.version != VERSION {
        return Err(FormatError::Version {
            version: header.version,
            program: header.program,
        });
    }
    let mut body = Vec::new();
    let taken = file.take(header.length + 1).read_to_end(&mut body);
    taken.map_err(FormatError::Read)?;
    let there = body.len() as u64;
    if there < header.length {
        return Err(FormatError::CutOff {
            there: header.bytes + there,
            wanted: header.bytes + header.length,
        });
    }
    if there > header.length {
        return Err(FormatError::Longer);
    }
    if crc64(&body) != header.sum {
        return Err(FormatError::Altered("body"));
    }
    let parsed = postcard::take_from_bytes(&body);
    match parsed.map_err(|error| FormatError::Content(error.to_string()))? {
        (snapshot, []) => Ok(snapshot),
        (_, rest) => {
            let rest = format!("{} bytes are left over", rest.len());
            Err(FormatError::Content(rest))
        }
    }
}

/// Reads a file, and the same bytes as a body with right checksums, for fuzzing.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let _ = read(&mut &bytes[..]);
    let mut file = header(bytes);
    file.extend(bytes);
    if let Ok(snapshot) = read(&mut &file[..]) {
        let mut again = Vec::new();
        let _ = write(&snapshot, &mut again);
    }
}

/// The version of a file, of which nothing but the header is read.
///
/// # Errors
/// If there is none.
pub(crate) fn version(path: &Path) -> Result<u32, FormatError> {
    let mut file = File::open(path).map_err(FormatError::Read)?;
    Ok(Header::read(&mut file)?.version)
}

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// The version of the body's shape.
    version: u32,
    /// The version of the program that wrote it.
    program: String,
    bytes: u64,
    length: u64,
    sum: u64,
}

impl Header {
    /// Reads the header of any version.
    ///
    /// # Errors
    /// If it is no header, or not whole.
    fn read(file: &mut impl Read) -> Result<Self, FormatError> {
        let mut bytes = Vec::new();
        fill(file, &mut bytes, HEADER)?;
        if bytes.get(..MAGIC.len()) != Some(&MAGIC) {
            return Err(FormatError::Foreign);
        }
        let length = number(&bytes, LENGTH);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(HEADER..=LONGEST_HEADER).contains(&length) {
            // A byte of the length itself was altered, or one before it.
            return Err(match bytes.len() {
                HEADER => FormatError::Altered("header"),
                there => cut_off(there, HEADER),
            });
        }
        fill(file, &mut bytes, length)?;
        if bytes.len() < length {
            return Err(cut_off(bytes.len(), length));
        }
        let end = length - SUM;
        let sum = number(&bytes, end..length);
        if crc64(bytes.get(..end).unwrap_or_default()) != sum {
            return Err(FormatError::Altered("header"));
        }
        let body = number(&bytes, BODY_LENGTH);
        if body > LONGEST {
            return Err(FormatError::TooLong(body));
        }
        let program = bytes.get(PROGRAM).unwrap_or_default();
        let program = program.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Self {
            version: u32::try_from(number(&bytes, SHAPE)).unwrap_or_default(),
            program: String::from_utf8_lossy(program).escape_debug().to_string(),
            bytes: length as u64,
            length: body,
            sum: number(&bytes, BODY_SUM),
        })
    }
}

fn cut_off(there: usize, wanted: usize) -> FormatError {
    FormatError::CutOff {
        there: there as u64,
        wanted: wanted as u64,
    }
}

/// Reads until there are so many bytes, or no more.
fn fill(file: &mut impl Read, bytes: &mut Vec<u8>, wanted: usize) -> Result<(), FormatError> {
    let missing = wanted.saturating_sub(bytes.len()) as u64;
    let taken = file.take(missing).read_to_end(bytes);
    taken.map(drop).map_err(FormatError::Read)
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8], place: Range<usize>) -> u64 {
    let mut number = [0; 8];
    let field = bytes.get(place).unwrap_or_default();
    for (to, from) in number.iter_mut().zip(field) {
        *to = *from;
    }
    u64::from_le_bytes(number)
}
