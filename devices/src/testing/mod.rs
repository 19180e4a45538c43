//! A driver that does what a guest does, well-behaved or not, for the tests of all devices and for fuzzing.

mod driver;
#[cfg(test)]
pub(crate) mod lifecycle;
mod ring;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vm_memory::bitmap::AtomicBitmap;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestRegionMmap};

pub(crate) use driver::Driver;
#[cfg(test)]
pub(crate) use lifecycle::{Fixture, lifecycle_suite};
pub(crate) use ring::{Ring, desc};

use crate::{Cause, GuestMemory, Interrupt};

/// Bytes of guest memory, which begins at 0.
pub(crate) const MEMORY: usize = 4 << 20;
const PAGE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Where memory for hot-plugging begins, and how many bytes it has.
pub(crate) const HOTPLUG: u64 = 1 << 30;
pub(crate) const HOTPLUG_SIZE: usize = 32 << 20;

/// Guest memory that records what devices write, and some for hot-plugging.
pub(crate) fn memory() -> GuestMemory {
    let region = |base, size| {
        let bitmap = Some(AtomicBitmap::new(size, PAGE));
        let region = MmapRegionBuilder::new_with_bitmap(size, bitmap)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE)
            .build()
            .unwrap();
        GuestRegionMmap::new(region, GuestAddress(base)).unwrap()
    };
    GuestMemory::from_regions(vec![region(0, MEMORY), region(HOTPLUG, HOTPLUG_SIZE)]).unwrap()
}

/// How many of `count` pages from the guest's page `first` on the host really keeps. They lie in one region.
#[allow(unsafe_code)]
pub(crate) fn resident_pages(memory: &GuestMemory, first: u64, count: u64) -> u64 {
    let (region, offset) = memory.to_region_addr(GuestAddress(first * 4096)).unwrap();
    let offset = usize::try_from(offset.raw_value()).unwrap();
    let count = usize::try_from(count).unwrap();
    assert!(offset + count * 4096 <= region.size());
    let mut pages = vec![0_u8; count];
    // SAFETY: the range is in the region, and the vector has a byte for each of its pages.
    let result = unsafe {
        libc::mincore(
            region.as_ptr().add(offset).cast(),
            count * 4096,
            pages.as_mut_ptr(),
        )
    };
    assert_eq!(result, 0);
    pages.iter().map(|page| u64::from(page & 1)).sum()
}

/// Counts interrupts instead of delivering them.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    pub(crate) queue: AtomicUsize,
    pub(crate) config: AtomicUsize,
}

impl Interrupt for Arc<Counter> {
    fn trigger(&self, cause: Cause) -> io::Result<()> {
        let counter = match cause {
            Cause::Queue(_) => &self.queue,
            Cause::Config => &self.config,
        };
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
