//! Memory of the guest besides its RAM: files (virtio-pmem), and memory that is plugged in (virtio-mem).
//!
//! It lies above the RAM and is told of by its devices, not by the memory map. All of it belongs to the guest's memory before the first
//! device is made, so that every device can reach it.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use hull_devices::GuestMemory;
use hull_devices::mem::{Mem, MemConfig};
use hull_devices::pmem::{MAPPING_ALIGN, Mapping, Pmem, PmemConfig};
use hull_vm_api::VmConfig;
use hull_vm_api::config::{self, MachineConfig};
use kvm_ioctls::VmFd;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::lane::Threads;
use super::slots::KvmSlots;
use super::{Made, rate};
use crate::error::StartError;
use crate::files::{Access, Files};
use crate::lost_memory::Place;
use crate::memory::{self, MIB};

/// What Linux wants the beginning of memory that is plugged in to be a multiple of, on every machine (its largest memory block).
const HOTPLUG_ALIGN: u64 = 2 << 30;

/// The files of virtio-pmem, for whoever has the guest's memory: regions of that do not keep them.
pub(crate) type Mappings = Arc<[Arc<Mapped>]>;

/// A file of virtio-pmem as memory of this process.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// Whose it is, in words.
    pub(crate) name: String,
    /// Where the guest has it.
    addresses: Range<u64>,
    mapping: Arc<Mapping>,
    _place: Place,
}

impl Mapped {
    fn new(id: &str, mapping: Mapping, at: u64) -> Self {
        let name = format!("pmem {id}");
        let start = mapping.host_address();
        let place = Place::of(&name, start..start.saturating_add(mapping.size()));
        Self {
            name,
            addresses: at..at.saturating_add(mapping.size()),
            mapping: Arc::new(mapping),
            _place: place,
        }
    }

    /// Whether a vCPU came out with an access to it that can only mean that the host has no page there. (A write to memory that is
    /// only read comes out, too.)
    pub(crate) fn lacks(&self, address: u64, is_write: bool) -> bool {
        self.addresses.contains(&address) && !(is_write && self.mapping.is_read_only())
    }
}

/// The guest's memory with all that comes on top of its RAM.
pub(super) struct Extra {
    pub(super) memory: GuestMemory,
    pmem: Vec<(u64, Arc<Mapped>)>,
    hotplug: Option<(u64, Cell<Option<KvmSlots>>)>,
}

/// Opens and maps what a configuration asks for, and shows it to KVM.
pub(super) fn map(
    config: &VmConfig,
    files: &Files,
    vm: &VmFd,
    ram: &GuestMemory,
) -> Result<Extra, StartError> {
    let mut extra = Extra {
        memory: ram.clone(),
        pmem: Vec::new(),
        hotplug: None,
    };
    let end = ram.last_addr().0 + 1;
    let mut next = end.max(4 << 30).next_multiple_of(MAPPING_ALIGN);
    // RAM has the first slots of KVM.
    let mut slots = u32::try_from(ram.num_regions()).unwrap_or(u32::MAX)..;
    for pmem in &config.pmem {
        let mapping = open(pmem, files)?;
        // SAFETY: all who have the guest's memory, vCPUs and the threads of devices, hold on to the mappings as well (`Mappings`).
        #[allow(unsafe_code)]
        let region = unsafe { mapping.region(GuestAddress(next)) };
        let region = region.ok_or_else(|| no_room(&pmem.id))?;
        memory::show(
            vm,
            slots.next().unwrap_or_default(),
            &region,
            mapping.is_read_only(),
        )?;
        extra.memory = extra
            .memory
            .insert_region(Arc::new(region))
            .map_err(memory::MemoryError::Layout)?;
        let size = mapping.size();
        let mapped = Mapped::new(&pmem.id, mapping, next);
        extra.pmem.push((next, Arc::new(mapped)));
        next += size;
    }
    if let Some(hotplug) = &config.memory_hotplug {
        let base = next.next_multiple_of(HOTPLUG_ALIGN);
        let size = u64::from(hotplug.total_size_mib) * MIB;
        let machine: &MachineConfig = &config.machine_config;
        let region = memory::lazy(machine, GuestAddress(base), size)?;
        let slot = slots.next().unwrap_or_default();
        let shown = KvmSlots::new(vm, slot, &region, machine.track_dirty_pages).map_err(
            StartError::host("a descriptor for memory that is plugged in"),
        )?;
        extra.memory = extra
            .memory
            .insert_region(Arc::new(region))
            .map_err(memory::MemoryError::Layout)?;
        extra.hotplug = Some((base, Cell::new(Some(shown))));
    }
    Ok(extra)
}

fn open(pmem: &config::Pmem, files: &Files) -> Result<Mapping, StartError> {
    let access = if pmem.read_only {
        Access::Read
    } else {
        Access::ReadWrite
    };
    let open = |what, path| {
        let file = files.open(what, path, access)?;
        super::disk::lock(&file, path, &pmem.id, pmem.read_only)?;
        Ok::<_, StartError>(file)
    };
    let mapped = match &pmem.path_on_host {
        Some(path) => Mapping::file(open("pmem.path_on_host", path)?, pmem.read_only),
        None => {
            let parts = pmem.parts.iter().map(|path| open("pmem.parts", path));
            Mapping::parts(parts.collect::<Result<_, _>>()?)
        }
    };
    mapped.map_err(|source| StartError::Mapping {
        id: pmem.id.clone(),
        source,
    })
}

fn no_room(id: &str) -> StartError {
    StartError::NoRoom(id.to_owned())
}

impl Extra {
    /// Makes the device of file number `index`.
    pub(super) fn pmem(&self, index: usize, pmem: &config::Pmem) -> Result<Made, StartError> {
        let (address, mapped) = self.pmem.get(index).ok_or_else(|| no_room(&pmem.id))?;
        let config = PmemConfig {
            address: *address,
            rate: rate::limits(pmem.rate_limiter.as_ref()),
        };
        let device =
            Pmem::new(config, mapped.mapping.clone()).map_err(|source| StartError::Pmem {
                id: pmem.id.clone(),
                source,
            })?;
        Ok(Made {
            rates: vec![device.rate_control()],
            device: Box::new(device),
            threads: Threads::Alike(1),
            fence: None,
        })
    }

    /// Makes the device of memory that can be plugged in.
    pub(super) fn hotplug(&self, hotplug: &config::MemoryHotplug) -> Result<Made, StartError> {
        let (address, slots) = self
            .hotplug
            .as_ref()
            .ok_or_else(|| no_room("memory-hotplug"))?;
        let slots = slots.take().ok_or_else(|| no_room("memory-hotplug"))?;
        let config = MemConfig {
            address: *address,
            region_size: u64::from(hotplug.total_size_mib) * MIB,
            block_size: u64::from(hotplug.block_size_mib) * MIB,
            slot_size: u64::from(hotplug.slot_size_mib) * MIB,
            requested_size: 0,
        };
        Ok(Made {
            device: Box::new(Mem::new(config, Box::new(slots))?),
            rates: Vec::new(),
            threads: Threads::EventLoop,
            fence: None,
        })
    }

    /// What must live as long as anybody who has the guest's memory.
    pub(super) fn mappings(&self) -> Mappings {
        self.pmem.iter().map(|(_, mapped)| mapped.clone()).collect()
    }
}
