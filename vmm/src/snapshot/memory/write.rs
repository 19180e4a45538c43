//! Writing memory: pages that hold something, each copied once, from where the guest has it to its place in the file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use hull_devices::GuestMemory;
use rustix::io::{Errno, pwrite};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::pages::{self, PAGE};
use super::{MemoryFileError, dirty};
use crate::memory::Region;
use crate::snapshot::format::v1::MemoryLabel;

/// Pages that are written at once: 4 MiB.
const MOST: u64 = 1024;

/// Numbers of eight bytes in a page.
const WORDS: usize = 512;

/// Which pages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// All that hold something.
    Full,
    /// The same of memory whose missing pages another process has.
    Filled,
    /// Those that were written since the last snapshot, also if they hold nothing any more.
    Diff,
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Saved<'a> {
    /// The guest's memory, one region behind the other. Nobody writes it.
    pub(crate) memory: &'a GuestMemory,
    /// `/proc/self/pagemap`.
    pub(crate) pagemap: &'a File,
    pub(crate) which: Which,
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
    let sized = file.set_len(label.file_size());
    sized.map_err(MemoryFileError::refused)?;
    let mut offset = 0;
    for region in saved.memory.iter() {
        write_region(saved, region, offset, file)?;
        offset += region.len();
    }
    label.write(file)?;
    file.sync_all().map_err(MemoryFileError::refused)
}

/// What went wrong, of a page.
enum Wrong {
    Pagemap(io::Error),
    Write(io::Error),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::Pagemap(error)
    }
}

fn write_region(
    saved: Saved<'_>,
    region: &Region,
    offset: u64,
    file: &File,
) -> Result<(), MemoryFileError> {
    let pages = Pages {
        region,
        file: file.as_fd(),
        offset,
    };
    let mut run = 0..0;
    let mut take = |page| {
        if page == run.end && run.end - run.start < MOST {
            run.end += 1;
            return Ok(());
        }
        pages.write(&run).map_err(Wrong::Write)?;
        run = page..page + 1;
        Ok(())
    };
    let done = match saved.which {
        Which::Full => {
            let start = region.as_ptr() as u64;
            let mapping = start..start + region.len();
            let backing = region.file_offset().map(|file| (file.file(), file.start()));
            pages::each(saved.pagemap, mapping, backing, |page| {
                if pages.is_zero(page) {
                    return Ok(());
                }
                take(page)
            })
        }
        Which::Filled => {
            let mut all = (0..region.len() / PAGE).filter(|page| !pages.is_zero(*page));
            all.try_for_each(&mut take)
        }
        Which::Diff => {
            let notes = dirty::notes(region);
            let mut written = (0..region.len() / PAGE).filter(|page| {
                let page = usize::try_from(*page).unwrap_or(usize::MAX);
                notes.is_none_or(|notes| notes.is_bit_set(page))
            });
            written.try_for_each(&mut take)
        }
    };
    let done = done.and_then(|()| pages.write(&run).map_err(Wrong::Write));
    done.map_err(|wrong| match wrong {
        Wrong::Pagemap(error) => MemoryFileError::Pagemap(error),
        Wrong::Write(error) => MemoryFileError::refused(error),
    })
}

/// The pages of a region, and where they go.
struct Pages<'a> {
    region: &'a Region,
    file: BorrowedFd<'a>,
    offset: u64,
}

impl Pages<'_> {
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
    fn write(&self, pages: &Range<u64>) -> io::Result<()> {
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
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
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
