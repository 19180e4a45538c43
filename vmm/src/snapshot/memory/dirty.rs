//! Which pages were written since the last snapshot.
//!
//! What the guest's processors write, and KVM for them, KVM notes; what devices write, and give back to the host, is noted by the
//! memory itself. KVM forgets what it tells, so it is added to the rest, which is only forgotten when there is a snapshot that has it.
//! The guest may go on meanwhile, and what it writes then belongs to the next one.

use std::ops::Range;

use hull_devices::GuestMemory;
use kvm_ioctls::VmFd;
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MmapRegion};

use super::pages::PAGE;
use crate::kvm::KvmError;
use crate::memory::Region;

/// A slot of KVM in which it notes what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Its number.
    pub(crate) number: u32,
    /// Addresses of the guest.
    pub(crate) addresses: Range<u64>,
}

/// Where a region notes what was written to it, if it does.
fn notes(region: &Region) -> Option<&AtomicBitmap> {
    let mapping: &MmapRegion<Option<AtomicBitmap>> = region;
    mapping.bitmap().as_ref()
}

/// Adds what KVM has noted.
///
/// # Errors
/// KVM's answer.
pub(crate) fn collect(vm: &VmFd, slots: &[Slot], memory: &GuestMemory) -> Result<(), KvmError> {
    for slot in slots {
        let size = slot.addresses.end - slot.addresses.start;
        let log = vm.get_dirty_log(slot.number, usize::try_from(size).unwrap_or(usize::MAX));
        let log = match log {
            // Memory that is not plugged in is not shown to KVM.
            Err(error) if error.errno() == libc::ENOENT => continue,
            log => log.map_err(KvmError::step("tell which pages were written"))?,
        };
        let start = GuestAddress(slot.addresses.start);
        let Some(region) = memory.find_region(start) else {
            continue;
        };
        let Some(notes) = notes(region) else {
            continue;
        };
        let first = (slot.addresses.start - region.start_addr().0) / PAGE;
        add(notes, usize::try_from(first).unwrap_or(usize::MAX), &log);
    }
    Ok(())
}

/// Adds pages from number `first` on, of which each has a bit.
fn add(notes: &AtomicBitmap, first: usize, log: &[u64]) {
    for (index, word) in log.iter().enumerate() {
        let mut rest = *word;
        while rest != 0 {
            let bit = usize::try_from(rest.trailing_zeros()).unwrap_or_default();
            notes.set_bit(first.saturating_add(index * 64 + bit));
            rest &= rest - 1;
        }
    }
}

/// What was noted until a moment. It is noted again when this goes, unless it is [forgotten](Self::forget): there is a snapshot that has it.
#[derive(Debug)]
pub(crate) struct Noted {
    memory: GuestMemory,
    /// Of each region, unless nothing is noted there: a bit for each page.
    regions: Vec<Option<Vec<u64>>>,
}

impl Noted {
    /// Takes what is noted, so that from now on it is what comes after this.
    pub(crate) fn take(memory: &GuestMemory) -> Self {
        let regions = memory.iter().map(notes);
        Self {
            regions: regions
                .map(|notes| notes.map(AtomicBitmap::get_and_reset))
                .collect(),
            memory: memory.clone(),
        }
    }

    /// What was noted of a region.
    pub(super) fn of(&self, region: usize) -> Option<&[u64]> {
        self.regions.get(region)?.as_deref()
    }

    /// There is a snapshot that has all of it.
    pub(crate) fn forget(mut self) {
        self.regions.clear();
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        for (region, noted) in self.memory.iter().zip(&self.regions) {
            if let (Some(notes), Some(noted)) = (notes(region), noted) {
                add(notes, 0, noted);
            }
        }
    }
}
