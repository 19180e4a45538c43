//! Which pages of the guest's memory can hold anything, as the kernel knows it.
//!
//! `/proc/self/pagemap` (Linux, `Documentation/admin-guide/mm/pagemap.rst`) says of each page whether it is there, in RAM or in swap; of a
//! private mapping of a file also whether the page is its own or the file's. Memory that nobody has touched is never read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

pub(super) const PAGE: u64 = 4096;

/// Bits of an entry: the page is a file's (or shared); it is in swap; it is in RAM.
const OF_FILE: u64 = 1 << 61;
const SWAPPED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;
/// Bytes of an entry.
const ENTRY: usize = 8;
/// Entries that are read at a time: those of 32 MiB.
const AT_A_TIME: usize = 8192;

/// Calls back for each page of a mapping that may hold something: its number.
///
/// `file` is the file that is mapped, and where in it the mapping begins.
///
/// # Errors
/// The host's answer.
pub(super) fn each(
    pagemap: &File,
    mapping: Range<u64>,
    file: Option<(&File, u64)>,
    mut take: impl FnMut(u64),
) -> io::Result<()> {
    let pages = (mapping.end - mapping.start) / PAGE;
    let first = mapping.start / PAGE;
    let mut data = file.map(|(file, start)| Data::new(file, start));
    let mut buffer = vec![0; AT_A_TIME * ENTRY];
    let mut page = 0;
    while page < pages {
        let count = usize::try_from(pages - page)
            .unwrap_or(AT_A_TIME)
            .min(AT_A_TIME);
        let bytes = buffer.get_mut(..count * ENTRY).unwrap_or_default();
        pagemap.read_exact_at(bytes, (first + page) * ENTRY as u64)?;
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        for entry in entries {
            let entry = u64::from_le_bytes(*entry);
            let may_hold = match &mut data {
                None => entry & (PRESENT | SWAPPED) != 0,
                // What the file has there counts only where the page is not the mapping's own.
                Some(data) => {
                    let own = entry & SWAPPED != 0 || entry & (PRESENT | OF_FILE) == PRESENT;
                    own || data.has(page)?
                }
            };
            if may_hold {
                take(page);
            }
            page += 1;
        }
    }
    Ok(())
}

/// The parts of a file that are no holes, asked for in order.
struct Data<'a> {
    file: &'a File,
    start: u64,
    /// The last part that was found, or that behind which there is none.
    part: Range<u64>,
}

impl<'a> Data<'a> {
    fn new(file: &'a File, start: u64) -> Self {
        Self {
            file,
            start,
            part: start..start,
        }
    }

    fn has(&mut self, page: u64) -> io::Result<bool> {
        let at = self.start + page * PAGE;
        while at >= self.part.end {
            self.part = match seek(self.file, SeekFrom::Data(at)) {
                Ok(from) => from..seek(self.file, SeekFrom::Hole(from))?,
                // There is nothing more.
                Err(Errno::NXIO) => u64::MAX..u64::MAX,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(at + PAGE > self.part.start)
    }
}
