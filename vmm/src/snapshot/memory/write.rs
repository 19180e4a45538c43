//! Writing memory: pages that hold something, each copied once, from where the guest has it to its place in the file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use hull_devices::GuestMemory;
use rustix::io::{Errno, pwrite};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::MemoryFileError;
use super::dirty::Noted;
use super::pages::{self, PAGE};
use crate::memory::Region;
use crate::snapshot::format::v1::MemoryLabel;

/// Pages that are written at once: 4 MiB.
const MOST: u64 = 1024;

/// Numbers of eight bytes in a page.
const WORDS: usize = 512;

/// Which pages are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    /// All that hold something.
    Full,
    /// The same of memory whose missing pages another process has.
    Filled,
    /// Those that were written since the last snapshot, also if they hold nothing any more.
    Diff(&'a Noted),
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Saved<'a> {
    /// The guest's memory, one region behind the other. Nobody writes it.
    pub(crate) memory: &'a GuestMemory,
    /// `/proc/self/pagemap`.
    pub(crate) pagemap: &'a File,
    pub(crate) which: Which<'a>,
}

/// Pages that are to be written: of each region a bit for each page.
#[derive(Debug)]
pub(crate) struct Chosen {
    regions: Vec<Vec<u64>>,
    /// Pages of zeros are left out.
    skips_zeros: bool,
}

/// Writes it into a file, which is empty or, for a diff, has what that is on top of, and brings it to its disk.
///
/// # Errors
/// What the host refused.
pub(crate) fn write(
    saved: Saved<'_>,
    label: &MemoryLabel,
    file: &File,
) -> Result<(), MemoryFileError> {
    begin(label, file)?;
    let chosen = choose(saved)?;
    let written = write_pages(saved.memory, &chosen, file.as_fd());
    written.map_err(|errno| MemoryFileError::refused(errno.into()))?;
    finish(label, file)
}

/// Makes a file as long as it is to be.
///
/// # Errors
/// What the host refused.
pub(crate) fn begin(label: &MemoryLabel, file: &File) -> Result<(), MemoryFileError> {
    let sized = file.set_len(label.file_size());
    sized.map_err(MemoryFileError::refused)
}

/// Closes a file in which all pages are, and brings it to its disk.
///
/// # Errors
/// What the host refused.
pub(crate) fn finish(label: &MemoryLabel, file: &File) -> Result<(), MemoryFileError> {
    label.write(file)?;
    file.sync_all().map_err(MemoryFileError::refused)
}

/// Finds out which pages there are to write.
///
/// # Errors
/// If the host does not tell.
pub(crate) fn choose(saved: Saved<'_>) -> Result<Chosen, MemoryFileError> {
    let regions = saved.memory.iter().enumerate();
    let chosen = regions.map(|(index, region)| {
        let noted = match saved.which {
            Which::Full => return present(region, saved.pagemap),
            Which::Filled => None,
            Which::Diff(noted) => noted.of(index),
        };
        let all = || vec![u64::MAX; words(region)];
        Ok(noted.map_or_else(all, <[u64]>::to_vec))
    });
    Ok(Chosen {
        regions: chosen
            .collect::<io::Result<_>>()
            .map_err(MemoryFileError::Pagemap)?,
        skips_zeros: !matches!(saved.which, Which::Diff(_)),
    })
}

/// The pages of a region that may hold something: its own, and where they are a file's until they are written, what that has.
fn present(region: &Region, pagemap: &File) -> io::Result<Vec<u64>> {
    let start = region.as_ptr() as u64;
    let mut bits = vec![0; words(region)];
    let file = region.file_offset();
    if let Some(file) = file {
        let part = file.start()..file.start() + region.len();
        pages::data(file.file(), &part, |pages| set(&mut bits, pages))?;
    }
    let mapping = start..start + region.len();
    let take = |pages| set(&mut bits, pages);
    pages::own(pagemap, &mapping, file.is_some(), take)?;
    Ok(bits)
}

/// Numbers of 64 bits for the pages of a region.
fn words(region: &Region) -> usize {
    usize::try_from(region.len().div_ceil(PAGE * 64)).unwrap_or(usize::MAX)
}

/// Sets bits that follow each other.
fn set(bits: &mut [u64], pages: Range<u64>) {
    let mut page = pages.start;
    while page < pages.end {
        let first = page % 64;
        let count = (64 - first).min(pages.end - page);
        let word = usize::try_from(page / 64).unwrap_or(usize::MAX);
        if let Some(word) = bits.get_mut(word) {
            *word |= u64::MAX >> (64 - count) << first;
        }
        page += count;
    }
}

/// Writes pages to their places. It neither allocates nor locks anything, as a copy of the process must not.
///
/// # Errors
/// What the host refused.
pub(crate) fn write_pages(
    memory: &GuestMemory,
    chosen: &Chosen,
    file: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut offset = 0;
    for (region, bits) in memory.iter().zip(&chosen.regions) {
        let pages = Pages {
            region,
            file,
            offset,
        };
        pages.write_all(bits, chosen.skips_zeros)?;
        offset += region.len();
    }
    Ok(())
}

/// The pages of a region, and where they go.
struct Pages<'a> {
    region: &'a Region,
    file: BorrowedFd<'a>,
    offset: u64,
}

impl Pages<'_> {
    /// Writes those that have a bit.
    fn write_all(&self, bits: &[u64], skips_zeros: bool) -> Result<(), Errno> {
        let mut run = 0..0;
        for (first, word) in (0..).step_by(64).zip(bits) {
            let mut rest = *word;
            while rest != 0 {
                let page = first + u64::from(rest.trailing_zeros());
                rest &= rest - 1;
                let is_there = self.address(page, 1).is_some();
                if !is_there || skips_zeros && self.is_zero(page) {
                    continue;
                }
                if page == run.end && run.end - run.start < MOST {
                    run.end += 1;
                    continue;
                }
                self.write(&run)?;
                run = page..page + 1;
            }
        }
        self.write(&run)
    }

    /// Whether there is nothing in a page of the region.
    #[allow(unsafe_code)]
    fn is_zero(&self, page: u64) -> bool {
        let Some(at) = self.address(page, 1) else {
            return true;
        };
        // Pages are aligned, whatever the type of their bytes says.
        #[allow(clippy::cast_ptr_alignment)]
        let words = at.cast::<u64>();
        (0..WORDS).all(|index| {
            // SAFETY: the page is within the region's mapping, which lives as long as the borrow.
            unsafe { words.add(index).read_volatile() == 0 }
        })
    }

    /// Writes some pages that follow each other.
    #[allow(unsafe_code)]
    fn write(&self, pages: &Range<u64>) -> Result<(), Errno> {
        let count = pages.end - pages.start;
        let Some(at) = self.address(pages.start, count) else {
            return Ok(());
        };
        let length = usize::try_from(count * PAGE).unwrap_or_default();
        let place = self.offset + pages.start * PAGE;
        let mut done = 0;
        while done < length {
            // SAFETY: the bytes are within the region's mapping, which lives as long as the borrow; nobody writes them while the machine
            // stands still and its devices have nothing in flight.
            let rest = unsafe { std::slice::from_raw_parts(at.add(done), length - done) };
            match pwrite(self.file, rest, place + done as u64) {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Where some pages of the region are, if all of them are in it.
    #[allow(unsafe_code)]
    fn address(&self, page: u64, count: u64) -> Option<*const u8> {
        let (from, to) = (
            page.checked_mul(PAGE)?,
            page.checked_add(count)?.checked_mul(PAGE)?,
        );
        if to > self.region.len() || count == 0 {
            return None;
        }
        let offset = usize::try_from(from).ok()?;
        // SAFETY: it was just checked to be in the region's mapping.
        Some(unsafe { self.region.as_ptr().add(offset) })
    }
}
