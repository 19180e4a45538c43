//! Guest memory that goes back to the host.
//!
//! The balloon and hot-plugged memory name ranges that the guest does not use; here they become calls of `madvise` on the
//! VMM's mappings. A private mapping drops its pages (`MADV_DONTNEED`): what is read there afterwards is zeros, or, where
//! a file is mapped privately, what the file has. A shared one gives its pages back to its file (`MADV_REMOVE`, which punches a
//! hole). Of huge pages only whole ones go. The guest names the ranges: what lies outside of its memory is left alone, so all
//! that it can lose is its own.

mod ranges;
#[cfg(test)]
mod tests;

use std::io;

use vm_memory::bitmap::Bitmap;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

use crate::GuestMemory;
pub(crate) use ranges::Ranges;

const PAGE: u64 = 4096;
/// What a mapping of huge pages is made of.
const HUGE_PAGE: u64 = 2 << 20;

/// What became of ranges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reclaimed {
    /// Bytes that went back, as far as they were in use.
    pub(crate) bytes: u64,
    /// Bytes that stayed: not the guest's memory, or parts of pages.
    pub(crate) left: u64,
    /// Calls that the kernel refused.
    pub(crate) failures: u64,
}

/// Gives all ranges back. It takes a system call for each range and region, after ranges that touch were put together.
pub(crate) fn give_back(memory: &GuestMemory, ranges: &mut Ranges) -> Reclaimed {
    let mut sum = Reclaimed::default();
    for (start, end) in ranges.drain_merged() {
        let mut left = end - start;
        for region in memory.iter() {
            let base = region.start_addr().raw_value();
            let from = start.max(base);
            let to = end.min(base.saturating_add(region.len()));
            let Some((from, to)) = whole_pages(region, from, to) else {
                continue;
            };
            match discard(region, from - base, to - from) {
                Ok(()) => {
                    sum.bytes += to - from;
                    left = left.saturating_sub(to - from);
                }
                Err(error) => {
                    sum.failures += 1;
                    tracing::debug!(%error, from, to, "the host does not take memory back");
                }
            }
        }
        sum.left = sum.left.saturating_add(left);
    }
    sum
}

type Region = <GuestMemory as GuestMemoryBackend>::R;

/// The whole pages between two addresses of a region; none if there is none.
fn whole_pages(region: &Region, from: u64, to: u64) -> Option<(u64, u64)> {
    let page = if region.is_hugetlbfs() == Some(true) {
        HUGE_PAGE
    } else {
        PAGE
    };
    let from = from.checked_next_multiple_of(page)?;
    let to = to - to % page;
    (from < to).then_some((from, to))
}

/// Gives `len` bytes of a region back, which lie in it.
#[allow(unsafe_code)]
fn discard(region: &Region, offset: u64, len: u64) -> io::Result<()> {
    let advice = if region.flags() & libc::MAP_SHARED != 0 {
        libc::MADV_REMOVE
    } else {
        libc::MADV_DONTNEED
    };
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let offset = usize::try_from(offset).map_err(invalid)?;
    let len = usize::try_from(len).map_err(invalid)?;
    if offset
        .checked_add(len)
        .is_none_or(|end| end > region.size())
    {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the range was just checked to be in the region's mapping, which lives as long as the borrow. Nothing but the
    // guest has its data there, and all accesses to it are volatile: that it becomes other data is what a guest could do
    // at any time.
    let result = unsafe { libc::madvise(region.as_ptr().add(offset).cast(), len, advice) };
    if result == 0 {
        // It is other data now.
        region.bitmap().mark_dirty(offset, len);
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
