//! Memory that is plugged in, as KVM sees it: a slot of KVM for each slot of the device, there only while something in it is plugged.
//!
//! So a guest that uses what it did not plug reads ones, and writes nowhere.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};

use hull_devices::mem::Slots;
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{GuestMemoryRegion, GuestRegionMmap};

use crate::files::duplicate;
use crate::memory::Region;

/// KVM_SET_USER_MEMORY_REGION.
const SET_USER_MEMORY_REGION: libc::Ioctl = 0x4020_ae46;

/// The slots of one region. The machine, which outlives its devices, holds on to the region's memory.
#[derive(Debug)]
pub(super) struct KvmSlots {
    /// The machine's own descriptor again.
    vm: OwnedFd,
    /// The number of the first slot; the others follow.
    first: u32,
    /// Where the region is for the guest, and in this process.
    guest: u64,
    host: u64,
    flags: u32,
}

impl KvmSlots {
    /// Slots from number `first` on, none of which is shown yet.
    ///
    /// # Errors
    /// If the host has no descriptors left.
    pub(super) fn new(vm: &VmFd, first: u32, region: &Region, track: bool) -> io::Result<Self> {
        let flags = if track { KVM_MEM_LOG_DIRTY_PAGES } else { 0 };
        let region: &GuestRegionMmap<_> = region;
        Ok(Self {
            vm: duplicate(vm.as_raw_fd())?.into(),
            first,
            guest: region.start_addr().0,
            host: region.as_ptr() as u64,
            flags,
        })
    }

    #[allow(unsafe_code)]
    fn set(&self, index: usize, range: &Range<u64>, size: u64) -> io::Result<()> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let index = u32::try_from(index).map_err(|_| invalid())?;
        let offset = range.start.checked_sub(self.guest).ok_or_else(invalid)?;
        let region = kvm_userspace_memory_region {
            slot: self.first.checked_add(index).ok_or_else(invalid)?,
            flags: self.flags,
            guest_phys_addr: range.start,
            memory_size: size,
            userspace_addr: self.host.checked_add(offset).ok_or_else(invalid)?,
        };
        let vm = self.vm.as_raw_fd();
        // SAFETY: the structure is what this ioctl reads. What it describes is in the region, which is mapped for longer than the
        // machine's vCPUs run.
        let result = unsafe { libc::ioctl(vm, SET_USER_MEMORY_REGION, &raw const region) };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Slots for KvmSlots {
    fn show(&mut self, index: usize, range: Range<u64>) -> io::Result<()> {
        self.set(index, &range, range.end - range.start)
    }

    fn hide(&mut self, index: usize, range: Range<u64>) -> io::Result<()> {
        self.set(index, &range, 0)
    }
}
