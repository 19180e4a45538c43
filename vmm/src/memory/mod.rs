//! The guest's memory, as this process maps it and as KVM is told of it.
//!
//! Private mappings, given page by page: nothing is copied, so that a file can take the place of anonymous memory
//! and be shared by all machines that start from it.

mod prefault;
mod reserved;
#[cfg(test)]
mod tests;

use std::io;

use hull_arch::layout;
use hull_devices::GuestMemory;
use hull_vm_api::config::{HugePages, MachineConfig};
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{
    Address, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap,
};

use crate::kvm::KvmError;
use prefault::prefault;
pub(crate) use reserved::Reserved;

/// Bytes in a MiB.
pub(crate) const MIB: u64 = 1 << 20;

/// The granularity of dirty tracking: a page.
const PAGE: std::num::NonZeroUsize = std::num::NonZeroUsize::new(4096).unwrap();

/// A piece of the guest's memory.
pub(crate) type Region = GuestRegionMmap<Option<AtomicBitmap>>;

/// Why there is no memory for the guest.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// More than the host has in all.
    #[error("mem_size_mib is {wanted}, and this host has {there} MiB, swap included; lower it")]
    MoreThanHost {
        /// As configured, in MiB.
        wanted: u64,
        /// RAM and swap, in MiB.
        there: u64,
    },
    /// More than the host can give now.
    #[error(
        "machine-config.prefault wants all of mem_size_mib {wanted} at once, and this host can give {there} MiB now; lower mem_size_mib, \
         end something else, or leave prefault out"
    )]
    TooLittle {
        /// As configured, in MiB.
        wanted: u64,
        /// What the host has to give, in MiB, swap included.
        there: u64,
    },
    /// The host ran out of it.
    #[error(
        "the host gave only a part of the {wanted} MiB that machine-config.prefault wants at once; lower mem_size_mib"
    )]
    Prefault {
        /// As configured, in MiB.
        wanted: u64,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
    /// No huge pages reserved.
    #[error(
        "the host has no {0} free huge pages of 2 MiB; reserve them: echo {0} | sudo tee /proc/sys/vm/nr_hugepages"
    )]
    NoHugePages(u64),
    /// The host's answer to the mapping.
    #[error("the host does not map {0} MiB for the guest")]
    Map(u64, #[source] MmapRegionError),
    /// More than there are addresses.
    #[error("mem_size_mib is {0}, which goes beyond the guest's address space; lower it")]
    TooLarge(u64),
    /// Two parts of it overlap.
    #[error("the guest's memory has overlapping parts")]
    Layout(#[source] vm_memory::GuestRegionCollectionError),
    /// KVM does not take it.
    #[error(transparent)]
    Kvm(#[from] KvmError),
}

/// Looks whether the host has what is wanted at once. That is done where the host can be seen, which is not where the memory is mapped.
///
/// # Errors
/// If it has less.
pub(crate) fn check(machine: &MachineConfig) -> Result<(), MemoryError> {
    prefault::check(machine)
}

/// Maps the memory of a machine.
///
/// # Errors
/// If the host cannot give so much.
pub fn map(machine: &MachineConfig) -> Result<GuestMemory, MemoryError> {
    let wanted = machine.mem_size_mib;
    if let Some(there) = host_memory().filter(|there| *there < wanted) {
        return Err(MemoryError::MoreThanHost { wanted, there });
    }
    let mut regions = Vec::new();
    for (base, size) in layout::memory_regions(wanted * MIB) {
        let size = usize::try_from(size).map_err(|_| MemoryError::TooLarge(wanted))?;
        regions.push(region(machine, base, size)?);
    }
    let memory = GuestMemory::from_regions(regions).map_err(MemoryError::Layout)?;
    if machine.prefault {
        prefault(&memory, machine)?;
    }
    Ok(memory)
}

fn region(machine: &MachineConfig, base: GuestAddress, size: usize) -> Result<Region, MemoryError> {
    let huge = machine.huge_pages == HugePages::Hugetlbfs2M;
    let mut flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // Huge pages are reserved now, because running out of them later is a SIGBUS.
    flags |= if huge {
        libc::MAP_HUGETLB | libc::MAP_HUGE_2MB
    } else {
        libc::MAP_NORESERVE
    };
    let builder = MmapRegionBuilder::new_with_bitmap(size, bitmap(machine, size))
        .with_mmap_flags(flags)
        .with_hugetlbfs(huge);
    build(machine, base, builder)
}

/// A part of a file as memory of the guest, which never writes it: the file's pages are its own from the moment that it does.
///
/// # Errors
/// If the file is shorter, or the host does not map it.
pub(crate) fn of_file(
    machine: &MachineConfig,
    (base, size): (GuestAddress, u64),
    part: FileOffset,
) -> Result<Region, MemoryError> {
    let size = usize::try_from(size).map_err(|_| MemoryError::TooLarge(size / MIB))?;
    let builder = MmapRegionBuilder::new_with_bitmap(size, bitmap(machine, size))
        .with_file_offset(part)
        .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_NORESERVE);
    build(machine, base, builder)
}

/// The same of a part that is mapped already, at this address.
///
/// # Errors
/// If KVM cannot have it there.
///
/// # Safety
/// The mapping is of that size and stays as long as anybody has the region.
#[allow(unsafe_code)]
unsafe fn of_file_at(
    machine: &MachineConfig,
    (base, size): (GuestAddress, usize),
    part: FileOffset,
    mapped: *mut u8,
) -> Result<Region, MemoryError> {
    let builder = MmapRegionBuilder::new_with_bitmap(size, bitmap(machine, size))
        .with_file_offset(part)
        .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_NORESERVE);
    // SAFETY: as the caller promises.
    let builder = unsafe { builder.with_raw_mmap_pointer(mapped) };
    build(machine, base, builder)
}

/// Where pages that devices write are noted, if they are.
fn bitmap(machine: &MachineConfig, size: usize) -> Option<AtomicBitmap> {
    let tracks = machine.track_dirty_pages;
    tracks.then(|| AtomicBitmap::new(size, PAGE))
}

fn build(
    machine: &MachineConfig,
    base: GuestAddress,
    builder: MmapRegionBuilder<Option<AtomicBitmap>>,
) -> Result<Region, MemoryError> {
    let huge = machine.huge_pages == HugePages::Hugetlbfs2M;
    let mapping = builder
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .build()
        .map_err(|error| match error {
            MmapRegionError::Mmap(_) if huge => MemoryError::NoHugePages(machine.mem_size_mib / 2),
            error => MemoryError::Map(machine.mem_size_mib, error),
        })?;
    advise(&mapping, machine.huge_pages);
    GuestRegionMmap::new(mapping, base).ok_or(MemoryError::TooLarge(machine.mem_size_mib))
}

/// Tells the host what the mapping is for. It may not know some of it, which costs nothing but the effect.
#[allow(unsafe_code)]
fn advise(mapping: &vm_memory::MmapRegion<Option<AtomicBitmap>>, huge_pages: HugePages) {
    let mut advice = vec![libc::MADV_DONTDUMP];
    if huge_pages == HugePages::Transparent {
        advice.push(libc::MADV_HUGEPAGE);
    }
    for advice in advice {
        // SAFETY: the range is one mapping of this process, and neither advice changes what is in it.
        let result = unsafe { libc::madvise(mapping.as_ptr().cast(), mapping.size(), advice) };
        if result != 0 {
            let error = io::Error::last_os_error();
            tracing::warn!("the host does not take madvise {advice} for guest memory: {error}");
        }
    }
}

/// Memory of the guest besides its RAM, which the host gives as far as it is touched.
///
/// # Errors
/// If the host does not map it.
pub(crate) fn lazy(
    machine: &MachineConfig,
    base: GuestAddress,
    size: u64,
) -> Result<Region, MemoryError> {
    let size = usize::try_from(size).map_err(|_| MemoryError::TooLarge(size / MIB))?;
    region(machine, base, size)
}

/// Shows the memory to KVM.
///
/// # Errors
/// If KVM does not take it.
pub fn register(vm: &VmFd, memory: &GuestMemory, track_dirty: bool) -> Result<(), MemoryError> {
    for (slot, region) in (0..).zip(memory.iter()) {
        register_region(vm, slot, region, track_dirty)?;
    }
    Ok(())
}

/// Shows a piece of memory to KVM, and perhaps has it note which pages the guest writes.
///
/// # Errors
/// If KVM does not take it.
pub(crate) fn register_region(
    vm: &VmFd,
    slot: u32,
    region: &Region,
    track_dirty: bool,
) -> Result<(), MemoryError> {
    let flags = if track_dirty {
        KVM_MEM_LOG_DIRTY_PAGES
    } else {
        0
    };
    set_slot(vm, slot, flags, region)
}

/// Shows a piece of memory to KVM, which the guest's processor may not be able to write.
///
/// # Errors
/// If KVM does not take it.
pub(crate) fn show(
    vm: &VmFd,
    slot: u32,
    region: &Region,
    read_only: bool,
) -> Result<(), MemoryError> {
    let flags = if read_only { KVM_MEM_READONLY } else { 0 };
    set_slot(vm, slot, flags, region)
}

#[allow(unsafe_code)]
fn set_slot(vm: &VmFd, slot: u32, flags: u32, region: &Region) -> Result<(), MemoryError> {
    let region = kvm_userspace_memory_region {
        slot,
        flags,
        guest_phys_addr: region.start_addr().raw_value(),
        memory_size: region.len(),
        userspace_addr: region.as_ptr() as u64,
    };
    // SAFETY: the range is a mapping of the size given; the machine holds on to it for longer than to `vm` and its vCPUs.
    unsafe { vm.set_user_memory_region(region) }
        .map_err(KvmError::step("take the guest's memory"))?;
    Ok(())
}

/// RAM and swap of the host in MiB, if it says so.
fn host_memory() -> Option<u64> {
    let info = rustix::system::sysinfo();
    let unit = u64::from(info.mem_unit.max(1));
    let units = info.totalram.checked_add(info.totalswap)?;
    Some(units.checked_mul(unit)? / MIB)
}
