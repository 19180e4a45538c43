//! Sparse files: GNU's old format (type `S`) and GNU's three PAX formats, 0.0, 0.1 and 1.0.

use std::io::BufRead;

use super::header::{Header, number};
use super::pax::decimal;
use super::{Archive, Error, RECORD};

/// Most parts of one sparse file.
const MAX_SEGMENTS: usize = 1 << 20;
/// Bytes of an entry of an old map.
const OLD_ENTRY: usize = 24;

/// A part of a file that the archive has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::layer) struct Segment {
    /// In the file, in bytes.
    pub(in crate::layer) offset: u64,
    /// In bytes.
    pub(in crate::layer) length: u64,
}

/// What PAX records say of a sparse file.
#[derive(Debug)]
pub(super) struct PaxSparse {
    /// Of the file.
    pub(super) size: Option<u64>,
    /// `None`: it stands before the content.
    pub(super) map: Option<Vec<Segment>>,
}

/// The `GNU.sparse.` records.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    major: Option<u64>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    /// Offsets and lengths in turn.
    numbers: Option<Vec<u64>>,
}

impl SparseRecords {
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let wrong = "a sparse file's map has a number that is none";
        match key {
            b"major" => self.major = Some(decimal(value).ok_or(wrong)?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(decimal(value).ok_or(wrong)?),
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').map(decimal);
                self.numbers = Some(numbers.collect::<Option<_>>().ok_or(wrong)?);
            }
            b"offset" | b"numbytes" => {
                let number = decimal(value).ok_or(wrong)?;
                self.numbers.get_or_insert_default().push(number);
            }
            _ => {}
        }
        Ok(())
    }

    /// The file's name if it has one of its own, and its map if it is sparse.
    pub(super) fn finish(self) -> (Option<Vec<u8>>, Option<PaxSparse>) {
        let map = match (self.major, self.numbers) {
            (Some(1), _) => None,
            (_, Some(numbers)) => Some(pairs(&numbers)),
            (_, None) => return (self.name, None),
        };
        let size = self.size;
        (self.name, Some(PaxSparse { size, map }))
    }
}

fn pairs(numbers: &[u64]) -> Vec<Segment> {
    let (pairs, _) = numbers.as_chunks();
    let segment = |[offset, length]: &[u64; 2]| Segment {
        offset: *offset,
        length: *length,
    };
    pairs.iter().map(segment).collect()
}

impl<R: BufRead> Archive<R> {
    /// Size and map of a file of type `S`, whose map goes on in records after the header.
    pub(super) fn old_sparse_map(&mut self, header: &Header) -> Result<(u64, Vec<Segment>), Error> {
        let wrong = "a sparse file's map has a number that is none";
        let size = number(header.field(483, 12)).and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| self.malformed(wrong))?;
        let mut map = Vec::new();
        let mut is_extended = header.field(482, 1) != [0];
        old_entries(header.field(386, 4 * OLD_ENTRY), &mut map)
            .ok_or_else(|| self.malformed(wrong))?;
        while is_extended {
            let record: [u8; RECORD] = self
                .record()?
                .ok_or_else(|| self.malformed("it ends within a sparse file's map"))?;
            let entries = record.get(..21 * OLD_ENTRY).unwrap_or_default();
            old_entries(entries, &mut map).ok_or_else(|| self.malformed(wrong))?;
            is_extended = record.get(504) != Some(&0);
            if map.len() > MAX_SEGMENTS {
                return Err(self.malformed("a sparse file has too many parts"));
            }
        }
        Ok((size, map))
    }

    /// The map of format 1.0: decimal lines at the beginning of the content, padded to 512 bytes.
    pub(super) fn sparse_map_in_content(&mut self) -> Result<Vec<Segment>, Error> {
        let mut lines = Lines::default();
        loop {
            let mut failed = Ok(());
            self.content(512, |piece| {
                for byte in piece {
                    failed = failed.and_then(|()| lines.push(*byte));
                }
                Ok(())
            })?;
            failed.map_err(|what| self.malformed(what))?;
            if lines.is_complete() {
                return Ok(pairs(lines.numbers.get(1..).unwrap_or_default()));
            }
        }
    }
}

/// Numbers in lines, the first of which is how many pairs follow.
#[derive(Debug, Default)]
struct Lines {
    numbers: Vec<u64>,
    digits: Vec<u8>,
}

impl Lines {
    fn push(&mut self, byte: u8) -> Result<(), &'static str> {
        if self.is_complete() {
            return Ok(());
        }
        if byte != b'\n' {
            self.digits.push(byte);
            let fits = self.digits.len() <= 20;
            return fits.then_some(()).ok_or("a sparse file's map is malformed");
        }
        let number = decimal(&self.digits).filter(|_| !self.digits.is_empty());
        let number = number.ok_or("a sparse file's map is malformed")?;
        if self.numbers.is_empty() && number > MAX_SEGMENTS as u64 {
            return Err("a sparse file has too many parts");
        }
        self.numbers.push(number);
        self.digits.clear();
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let count = self.numbers.first().and_then(|n| usize::try_from(*n).ok());
        count.is_some_and(|count| self.numbers.len() == 1 + 2 * count)
    }
}

/// Reads entries until one is empty.
fn old_entries(bytes: &[u8], map: &mut Vec<Segment>) -> Option<()> {
    for entry in bytes.chunks_exact(OLD_ENTRY) {
        let (offset, length) = entry.split_at(OLD_ENTRY / 2);
        if offset.first() == Some(&0) || length.first() == Some(&0) {
            break;
        }
        map.push(Segment {
            offset: number(offset)?.try_into().ok()?,
            length: number(length)?.try_into().ok()?,
        });
    }
    Some(())
}

/// Checks that a map is ascending, inside the file, and made of exactly what the archive has.
pub(super) fn check(map: &[Segment], size: u64, stored: u64) -> Result<(), &'static str> {
    let mut end = 0;
    let mut total = 0;
    for segment in map {
        if segment.offset < end {
            return Err("the parts of a sparse file overlap");
        }
        end = segment
            .offset
            .checked_add(segment.length)
            .filter(|end| *end <= size)
            .ok_or("a part of a sparse file is beyond its end")?;
        total += segment.length;
    }
    if total != stored {
        return Err("a sparse file has not as much content as its map says");
    }
    Ok(())
}
