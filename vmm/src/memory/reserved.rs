//! Slots of KVM for memory that is still to come.
//!
//! Where the processor does not translate a guest's addresses by itself, KVM keeps a record of each page, and a slot costs the clearing
//! of ten bytes for each; on every host it waits for whoever may be looking at the slots. So it is made while nobody waits for
//! it, for addresses of this process at which there is nothing yet: KVM looks there when a guest runs, and no sooner. Memory is put there
//! later. Since nothing has to make room for it, KVM need not be told, which would have it go through that record again.

use std::ffi::c_void;
use std::io;
use std::ptr;

use hull_arch::layout;
use hull_devices::GuestMemory;
use hull_vm_api::config::{HugePages, MachineConfig};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::rand::{GetRandomFlags, getrandom};
use vm_memory::{Address, FileOffset, GuestAddress};

use super::{MIB, MemoryError, of_file_at};
use crate::kvm::KvmError;

/// How far below all that the kernel maps by itself, which it does from the top down: at least so many bytes, and at most twice as
/// many.
const DISTANCE: u64 = 8 << 40;
/// What the addresses are multiples of: the largest page that a processor has.
const ALIGN: u64 = 1 << 30;

/// Addresses of this process that KVM has slots for, and at which nothing is.
#[derive(Debug)]
pub(crate) struct Reserved {
    /// Of the guest.
    parts: Vec<Part>,
}

/// One slot, whose number is its place.
#[derive(Debug, Clone, Copy)]
struct Part {
    guest: GuestAddress,
    size: u64,
    own: u64,
}

impl Reserved {
    /// Makes slots for the RAM of a machine with so many MiB; nothing where that cannot be.
    pub(crate) fn make(vm: &VmFd, mib: u64) -> Option<Self> {
        let size = mib.checked_mul(MIB).filter(|size| *size > 0)?;
        let mut own = addresses(size)?;
        let mut reserved = Self { parts: Vec::new() };
        for (guest, size) in layout::memory_regions(size) {
            let part = Part { guest, size, own };
            if set(vm, reserved.parts.len(), part, size).is_err() {
                // KVM takes the others back as it took them.
                reserved.give_up(vm).ok()?;
                return None;
            }
            reserved.parts.push(part);
            own = own.checked_add(size.next_multiple_of(ALIGN))?;
        }
        Some(reserved)
    }

    /// Whether this is for the RAM of such a machine.
    pub(crate) fn suits(&self, machine: &MachineConfig) -> bool {
        let wanted = machine.mem_size_mib.checked_mul(MIB);
        let is_plain = !machine.track_dirty_pages && machine.huge_pages != HugePages::Hugetlbfs2M;
        let parts = self.parts.iter().map(|part| (part.guest, part.size));
        is_plain && wanted.is_some_and(|size| parts.eq(layout::memory_regions(size)))
    }

    /// Maps a file as the RAM of a machine that this suits, as [`super::of_file`] does. It stays there as long as the process does, so
    /// nobody who has the memory can have it for too long.
    ///
    /// # Errors
    /// If the host does not map it.
    pub(crate) fn map(
        self,
        machine: &MachineConfig,
        part_at: impl Fn(u64) -> FileOffset,
    ) -> Result<(GuestMemory, u64), MemoryError> {
        let mut regions = Vec::new();
        let mut offset = 0;
        for Part { guest, size, own } in self.parts {
            let file = part_at(offset);
            let length = usize::try_from(size).map_err(|_| MemoryError::TooLarge(size / MIB))?;
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
            let wanted = ptr::without_provenance_mut::<c_void>(usize::try_from(own).unwrap_or(0));
            // SAFETY: by FIXED_NOREPLACE nothing is unmapped for it.
            #[allow(unsafe_code)]
            let mapped =
                unsafe { mmap(wanted, length, protection, flags, file.file(), file.start()) };
            let refused = |error| MemoryError::Map(machine.mem_size_mib, error);
            let mapped = mapped
                .map_err(|error| refused(vm_memory::mmap::MmapRegionError::Mmap(error.into())))?;
            if mapped != wanted {
                // Linux before 4.17 takes the address for a hint.
                let error = io::Error::from(io::ErrorKind::AddrInUse);
                return Err(refused(vm_memory::mmap::MmapRegionError::Mmap(error)));
            }
            // SAFETY: the mapping is there, of this size, and is never taken away.
            #[allow(unsafe_code)]
            regions.push(unsafe { of_file_at(machine, (guest, length), file, mapped.cast()) }?);
            offset += size;
        }
        let memory = GuestMemory::from_regions(regions).map_err(MemoryError::Layout)?;
        Ok((memory, offset))
    }

    /// Takes the slots back.
    ///
    /// # Errors
    /// What KVM refused.
    pub(crate) fn give_up(self, vm: &VmFd) -> Result<(), KvmError> {
        for (slot, part) in self.parts.into_iter().enumerate() {
            set(vm, slot, part, 0)?;
        }
        Ok(())
    }
}

/// Addresses for so many bytes in parts, which nobody knows beforehand, and at which the kernel maps nothing by itself.
fn addresses(size: u64) -> Option<u64> {
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty()).ok()?;
    let page = usize::try_from(layout::PAGE_SIZE).ok()?;
    // SAFETY: it is a new page, which nobody uses and which goes again.
    #[allow(unsafe_code)]
    let top = unsafe {
        let there = mmap_anonymous(ptr::null_mut(), page, ProtFlags::empty(), MapFlags::PRIVATE);
        let there = there.ok()?;
        munmap(there, page).ok()?;
        there.addr() as u64
    };
    let below = DISTANCE + u64::from_ne_bytes(random) % DISTANCE;
    // Each part may have to be moved up to a multiple.
    let address = top.checked_sub(below)?.checked_sub(size + 2 * ALIGN)?;
    Some(address / ALIGN * ALIGN)
}

/// Has a slot be so large; 0 takes it away.
#[allow(unsafe_code)]
fn set(vm: &VmFd, slot: usize, part: Part, size: u64) -> Result<(), KvmError> {
    let region = kvm_userspace_memory_region {
        slot: u32::try_from(slot).unwrap_or(u32::MAX),
        flags: 0,
        guest_phys_addr: part.guest.raw_value(),
        memory_size: size,
        userspace_addr: part.own,
    };
    // SAFETY: nothing is there, and what comes there is the guest's memory, or no guest runs.
    unsafe { vm.set_user_memory_region(region) }.map_err(KvmError::step("take the guest's memory"))
}
