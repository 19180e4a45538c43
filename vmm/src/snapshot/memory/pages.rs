//! Which pages of the guest's memory can hold anything, as the kernel knows it.
//!
//! `/proc/self/pagemap` (Linux, `Documentation/admin-guide/mm/pagemap.rst`) says of each page whether it is there, in RAM or in swap; of a
//! private mapping of a file also whether the page is its own or the file's. Memory that nobody has touched is never read. A guest may wait for
//! the answer, so it is asked for by `PAGEMAP_SCAN`, which gives ranges, where Linux has that (6.7).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
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

/// `PAGEMAP_SCAN`.
const SCAN: libc::Ioctl = 0xc060_6610;
/// Its `PAGE_IS_FILE`, `PAGE_IS_PRESENT` and `PAGE_IS_SWAPPED`.
const IS_OF_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;
/// Ranges that are taken at a time.
const RANGES: usize = 512;

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Found {
    start: u64,
    end: u64,
    categories: u64,
}

/// Calls back for each page of a mapping that is its own and may hold something, with numbers of pages that follow each other; a page
/// that only the mapped file has is not its own.
///
/// # Errors
/// The host's answer.
pub(super) fn own(
    pagemap: &File,
    mapping: &Range<u64>,
    of_file: bool,
    mut take: impl FnMut(Range<u64>),
) -> io::Result<()> {
    match scan(pagemap, mapping, of_file, &mut take) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => {
            read(pagemap, mapping, of_file, take)
        }
        done => done,
    }
}

#[allow(unsafe_code)]
fn scan(
    pagemap: &File,
    mapping: &Range<u64>,
    of_file: bool,
    mut take: impl FnMut(Range<u64>),
) -> io::Result<()> {
    let mut found = vec![Found::default(); RANGES];
    let mut start = mapping.start;
    while start < mapping.end {
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            start,
            end: mapping.end,
            vec: found.as_mut_ptr() as u64,
            vec_len: found.len() as u64,
            category_anyof_mask: IS_PRESENT | IS_SWAPPED,
            return_mask: IS_PRESENT | IS_SWAPPED | if of_file { IS_OF_FILE } else { 0 },
            ..Scan::default()
        };
        // SAFETY: the structure is what this ioctl reads and writes, and names a vector that is as long as it says.
        let count = unsafe { libc::ioctl(pagemap.as_raw_fd(), SCAN, &raw mut scan) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let is_own = |found: &&Found| found.categories & (IS_OF_FILE | IS_SWAPPED) != IS_OF_FILE;
        for found in found.iter().take(count).filter(is_own) {
            let number = |address: u64| (address - mapping.start) / PAGE;
            take(number(found.start)..number(found.end));
        }
        // It ends no earlier than it began.
        start = scan.walk_end.max(start + PAGE);
    }
    Ok(())
}

fn read(
    pagemap: &File,
    mapping: &Range<u64>,
    of_file: bool,
    mut take: impl FnMut(Range<u64>),
) -> io::Result<()> {
    let pages = (mapping.end - mapping.start) / PAGE;
    let first = mapping.start / PAGE;
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
            let is_present = match of_file {
                true => entry & (PRESENT | OF_FILE) == PRESENT,
                false => entry & PRESENT != 0,
            };
            if is_present || entry & SWAPPED != 0 {
                take(page..page + 1);
            }
            page += 1;
        }
    }
    Ok(())
}

/// Calls back for the pages of a part of a file that are no holes.
///
/// # Errors
/// The host's answer.
pub(super) fn data(
    file: &File,
    part: &Range<u64>,
    mut take: impl FnMut(Range<u64>),
) -> io::Result<()> {
    let mut at = part.start;
    while at < part.end {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // There is nothing more.
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        at = seek(file, SeekFrom::Hole(start))?;
        let (start, end) = (start.min(part.end), at.min(part.end));
        take((start - part.start) / PAGE..(end - part.start).div_ceil(PAGE));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hull_devices::GuestMemory;
    use hull_vm_api::config::MachineConfig;
    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

    use super::*;
    use crate::memory;

    #[test]
    fn both_ways_find_the_same() {
        let machine = MachineConfig {
            mem_size_mib: 32,
            ..MachineConfig::default()
        };
        let memory: GuestMemory = memory::map(&machine).unwrap();
        for page in [0, 1, 2, 700, 702, 8191] {
            memory.write_obj(1_u8, GuestAddress(page * PAGE)).unwrap();
        }
        let start = memory.iter().next().unwrap().as_ptr() as u64;
        let mapping = start..start + (32 << 20);
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let mut expected = Vec::new();
        read(&pagemap, &mapping, false, |pages| expected.extend(pages)).unwrap();
        assert!(
            expected.len() < 8192 && expected.contains(&702),
            "{expected:?}"
        );
        let mut found = Vec::new();
        own(&pagemap, &mapping, false, |pages| found.extend(pages)).unwrap();
        assert_eq!(found, expected);
    }
}
