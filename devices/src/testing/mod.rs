//! A driver that does what a guest does, well-behaved or not, for the tests of all devices.

mod driver;
pub(crate) mod lifecycle;
mod ring;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vm_memory::bitmap::AtomicBitmap;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestRegionMmap};

pub(crate) use driver::Driver;
pub(crate) use lifecycle::{Fixture, lifecycle_suite};
pub(crate) use ring::{Ring, desc};

use crate::{Cause, GuestMemory, Interrupt};

/// Bytes of guest memory, which begins at 0.
pub(crate) const MEMORY: usize = 4 << 20;
const PAGE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Guest memory that records what devices write.
pub(crate) fn memory() -> GuestMemory {
    let bitmap = Some(AtomicBitmap::new(MEMORY, PAGE));
    let region = MmapRegionBuilder::new_with_bitmap(MEMORY, bitmap)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)
        .build()
        .unwrap();
    let region = GuestRegionMmap::new(region, GuestAddress(0)).unwrap();
    GuestMemory::from_regions(vec![region]).unwrap()
}

/// How many of `count` pages from the `first` of the only region on the host really keeps.
#[allow(unsafe_code)]
pub(crate) fn resident_pages(memory: &GuestMemory, first: u64, count: u64) -> u64 {
    let region = memory.iter().next().unwrap();
    let (first, count) = (
        usize::try_from(first * 4096).unwrap(),
        usize::try_from(count).unwrap(),
    );
    assert!(first + count * 4096 <= region.size());
    let mut pages = vec![0_u8; count];
    // SAFETY: the range is in the region, and the vector has a byte for each of its pages.
    let result = unsafe {
        libc::mincore(
            region.as_ptr().add(first).cast(),
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
