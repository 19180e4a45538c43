//! Just enough of ELF to know which other files a program needs (System V ABI, chapters 4 and 5; ELF-64). Every number of it is
//! somebody else's.

use std::os::fd::OwnedFd;

use rustix::io::pread;

const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// More program headers than any linker writes.
const MAX_HEADERS: u16 = 64;
/// The most bytes of a table or a string that are read.
const MAX_TABLE: u64 = 64 * 1024;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// What a program needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// The dynamic linker.
    pub(super) interpreter: Option<String>,
    /// Libraries, by name or path.
    pub(super) libraries: Vec<String>,
    /// Where they are looked for first.
    pub(super) directories: Vec<String>,
}

/// A part of the file and where it is in memory.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

impl Needs {
    /// What a file says; nothing if it is no ELF file of this machine's kind.
    pub(super) fn of(file: &OwnedFd) -> Option<Self> {
        let header = read(file, 0, HEADER as u64)?;
        if !header.starts_with(MAGIC) || header.len() < HEADER {
            return None;
        }
        let segments = segments(file, &header).unwrap_or_default();
        let find = |kind| segments.iter().find(|segment| segment.kind == kind);
        let mut needs = Self::default();
        if let Some(interpreter) = find(PT_INTERP) {
            let bytes = read(file, interpreter.offset, interpreter.size);
            needs.interpreter = bytes.and_then(|bytes| string(&bytes, 0));
        }
        if let Some(dynamic) = find(PT_DYNAMIC) {
            let _ = needs.link(file, &segments, *dynamic);
        }
        Some(needs)
    }

    /// Adds what the dynamic section names.
    fn link(&mut self, file: &OwnedFd, segments: &[Segment], dynamic: Segment) -> Option<()> {
        let table = read(file, dynamic.offset, dynamic.size)?;
        let entries: Vec<(u64, u64)> = table
            .chunks_exact(16)
            .filter_map(|entry| Some((u64_at(entry, 0)?, u64_at(entry, 8)?)))
            .take_while(|(tag, _)| *tag != 0)
            .collect();
        let find = |wanted| {
            entries
                .iter()
                .find(|(tag, _)| *tag == wanted)
                .map(|(_, value)| *value)
        };
        let address = find(DT_STRTAB)?;
        let inside = |segment: &&Segment| {
            let from_start = address.checked_sub(segment.address);
            segment.kind == PT_LOAD && from_start.is_some_and(|offset| offset < segment.size)
        };
        let segment = segments.iter().find(inside)?;
        let offset = segment.offset.checked_add(address - segment.address)?;
        let strings = read(file, offset, find(DT_STRSZ)?)?;
        for (tag, value) in &entries {
            let text = || string(&strings, usize::try_from(*value).ok()?);
            match *tag {
                DT_NEEDED => self.libraries.extend(text()),
                DT_RPATH | DT_RUNPATH => {
                    let paths = text().unwrap_or_default();
                    let absolute = paths.split(':').filter(|path| path.starts_with('/'));
                    self.directories.extend(absolute.map(str::to_owned));
                }
                _ => {}
            }
        }
        Some(())
    }
}

fn segments(file: &OwnedFd, header: &[u8]) -> Option<Vec<Segment>> {
    let (offset, count) = (u64_at(header, 32)?, u16_at(header, 56)?);
    let size = usize::from(u16_at(header, 54)?);
    if size != PROGRAM_HEADER || count > MAX_HEADERS {
        return None;
    }
    let table = read(file, offset, (size * usize::from(count)) as u64)?;
    let segment = |entry: &[u8]| {
        Some(Segment {
            kind: u32::from_le_bytes(*entry.first_chunk()?),
            offset: u64_at(entry, 8)?,
            address: u64_at(entry, 16)?,
            size: u64_at(entry, 32)?,
        })
    };
    Some(
        table
            .chunks_exact(PROGRAM_HEADER)
            .filter_map(segment)
            .collect(),
    )
}

/// Reads a part of a file, or the beginning of it if there is no more.
fn read(file: &OwnedFd, offset: u64, size: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size.min(MAX_TABLE)).ok()?];
    // Beyond what a file can have, the kernel refuses.
    let count = pread(file, &mut bytes, offset).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The string that begins at `at`.
fn string(bytes: &[u8], at: usize) -> Option<String> {
    let text = bytes.get(at..)?.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn needs(bytes: &[u8]) -> Option<Needs> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Needs::of(&file.into())
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = needs(&bytes);
            let _ = needs(&[MAGIC, &bytes].concat());
        }

        /// A program of this host with some bytes changed, where the tables are.
        #[test]
        fn damaged_programs_are_looked_at(changes in proptest::collection::vec((0..2000_usize, any::<u8>()), 1..20)) {
            let mut bytes = vec![0; 20_000];
            let count = std::os::unix::fs::FileExt::read_at(&File::open("/bin/sh").unwrap(), &mut bytes, 0).unwrap();
            bytes.truncate(count);
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            let _ = needs(&bytes);
        }
    }
}
