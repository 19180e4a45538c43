//! Memory of the guest besides its RAM: files (virtio-pmem), and memory that is plugged in (virtio-mem).
//!
//! It lies above the RAM and is told of by its devices, not by the memory map. All of it belongs to the guest's memory before the first
//! device is made, so that every device can reach it.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use hull_devices::mem::{Mem, MemConfig};
use hull_devices::pmem::{MAPPING_ALIGN, Mapping, Pmem, PmemConfig};
use hull_devices::{DeviceState, GuestMemory};
use hull_vm_api::Draft;
use hull_vm_api::config::{self, MachineConfig};
use kvm_ioctls::VmFd;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::lane::Threads;
use super::slots::KvmSlots;
use super::{Made, Name, rate, saved};
use crate::error::StartError;
use crate::files::{Access, Files};
use crate::lost_memory::Place;
use crate::memory::{self, MIB, Region};
use crate::snapshot::load::LoadError;
use crate::snapshot::memory::ahead::Ahead;
use crate::snapshot::memory::dirty::Slot;
use crate::snapshot::memory::faults::Handler;
use crate::snapshot::memory::recording::Recording;
use crate::snapshot::memory::working_set::WorkingSet;
use crate::snapshot::memory::{Backing, Filling};

/// What Linux wants the beginning of memory that is plugged in to be a multiple of, on every machine (its largest memory block).
const HOTPLUG_ALIGN: u64 = 2 << 30;

/// Files that are memory of the guest, for whoever has the guest's memory: regions of that do not keep them.
pub(crate) type Mappings = Arc<[Arc<Mapped>]>;

/// A file as memory of this process: of virtio-pmem, or the one that a restored machine's memory comes from.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// Whose it is, in words.
    pub(crate) name: String,
    /// Where the guest has it.
    addresses: Range<u64>,
    /// Of virtio-pmem.
    mapping: Option<Arc<Mapping>>,
    _place: Place,
}

impl Mapped {
    fn new(id: &str, mapping: Mapping, at: u64) -> (Arc<Mapping>, Self) {
        let name = format!("pmem {id}");
        let start = mapping.host_address();
        let place = Place::of(&name, start..start.saturating_add(mapping.size()));
        let mapping = Arc::new(mapping);
        let mapped = Self {
            name,
            addresses: at..at.saturating_add(mapping.size()),
            mapping: Some(mapping.clone()),
            _place: place,
        };
        (mapping, mapped)
    }

    /// A region of a restored machine's memory.
    fn of_snapshot(region: &Region) -> Self {
        let name = "the snapshot's memory".to_owned();
        let (start, at) = (region.as_ptr() as u64, region.start_addr().0);
        Self {
            addresses: at..at.saturating_add(region.len()),
            mapping: None,
            _place: Place::of(&name, start..start.saturating_add(region.len())),
            name,
        }
    }

    /// Whether a vCPU came out with an access to it that can only mean that the host has no page there. (A write to memory that is
    /// only read comes out, too.)
    pub(crate) fn lacks(&self, address: u64, is_write: bool) -> bool {
        let mapping = self.mapping.as_ref();
        let is_read_only = mapping.is_some_and(|mapping| mapping.is_read_only());
        self.addresses.contains(&address) && !(is_write && is_read_only)
    }
}

/// The guest's memory with all that comes on top of its RAM.
pub(super) struct Extra {
    pub(super) memory: GuestMemory,
    /// The same without files of virtio-pmem: what a snapshot has.
    pub(super) own: GuestMemory,
    /// In which slots KVM has that.
    pub(super) slots: Vec<Slot>,
    /// What is done about it as long as the machine lives.
    pub(super) filling: Option<Filling>,
    pmem: Vec<(u64, Arc<Mapping>)>,
    hotplug: Option<(u64, Cell<Option<KvmSlots>>)>,
    mapped: Vec<Arc<Mapped>>,
}

/// The RAM of a machine.
#[derive(Debug)]
pub(crate) struct Ram<'a> {
    /// As it is mapped.
    pub(crate) memory: GuestMemory,
    /// Where it comes from.
    pub(crate) origin: RamOrigin<'a>,
}

/// Where the RAM of a machine comes from.
#[derive(Debug)]
pub(crate) enum RamOrigin<'a> {
    /// Nowhere.
    New,
    /// A snapshot's file, in which it ends there, and of which this is brought in ahead.
    File(Backing, u64, Option<Arc<WorkingSet>>),
    /// A snapshot's file, page by page, with the rest of the guest's own memory.
    Recorded(&'a Recording),
    /// A process that fills it, and the rest of the guest's own memory.
    Process(&'a Handler),
}

/// Opens and maps what a configuration asks for, and shows it to KVM.
pub(super) fn map(
    config: &Draft,
    files: &Files,
    vm: &VmFd,
    ram: &Ram<'_>,
) -> Result<Extra, StartError> {
    let Ram { memory, origin } = ram;
    let mut extra = Extra {
        memory: memory.clone(),
        own: memory.clone(),
        slots: (0..)
            .zip(memory.iter())
            .map(|(number, region)| Slot {
                number,
                addresses: region.start_addr().0..region.start_addr().0 + region.len(),
            })
            .collect(),
        pmem: Vec::new(),
        hotplug: None,
        filling: None,
        mapped: Vec::new(),
    };
    if let RamOrigin::File(..) = origin {
        let regions = memory
            .iter()
            .map(|region| Arc::new(Mapped::of_snapshot(region)));
        extra.mapped.extend(regions);
    }
    let end = memory.last_addr().0 + 1;
    let mut next = end.max(4 << 30).next_multiple_of(MAPPING_ALIGN);
    // RAM has the first slots of KVM.
    let mut slots = u32::try_from(memory.num_regions()).unwrap_or(u32::MAX)..;
    for pmem in &config.pmem {
        let slot = slots.next().unwrap_or_default();
        next += extra.add_pmem(vm, open(pmem, files)?, (next, slot), &pmem.id)?;
    }
    if let Some(hotplug) = &config.memory_hotplug {
        let base = next.next_multiple_of(HOTPLUG_ALIGN);
        let slot = slots.next().unwrap_or_default();
        extra.add_hotplug(vm, hotplug, (base, slot), (&config.machine_config, origin))?;
    }
    extra.filling = fill(&extra.own, origin, files)?;
    Ok(extra)
}

/// Begins what is done about a memory of which nobody has touched anything.
fn fill(
    memory: &GuestMemory,
    origin: &RamOrigin<'_>,
    files: &Files,
) -> Result<Option<Filling>, StartError> {
    let confinement = files.confinement();
    let thread = StartError::host("a thread for a snapshot's memory");
    Ok(match origin {
        RamOrigin::New | RamOrigin::File(_, _, None) => None,
        RamOrigin::File(_, _, Some(set)) => {
            let ahead = Ahead::begin(set.clone(), memory.clone(), confinement);
            Some(Filling::Ahead {
                _ahead: ahead.map_err(thread)?,
            })
        }
        RamOrigin::Recorded(recording) => {
            let recorder = recording.begin(memory, confinement);
            Some(Filling::Recorded(recorder.map_err(LoadError::Recording)?))
        }
        RamOrigin::Process(handler) => {
            let faults = handler.take_over(memory);
            Some(Filling::Process {
                _faults: faults.map_err(LoadError::Faults)?,
            })
        }
    })
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

/// Memory with one more region.
fn with(memory: &GuestMemory, region: &Arc<Region>) -> Result<GuestMemory, StartError> {
    let memory = memory.insert_region(region.clone());
    Ok(memory.map_err(memory::MemoryError::Layout)?)
}

fn no_room(id: &str) -> StartError {
    StartError::NoRoom(id.to_owned())
}

impl Extra {
    /// Adds a file at this address, by this slot of KVM; its size.
    fn add_pmem(
        &mut self,
        vm: &VmFd,
        mapping: Mapping,
        (address, slot): (u64, u32),
        id: &str,
    ) -> Result<u64, StartError> {
        // SAFETY: all who have the guest's memory, vCPUs and the threads of devices, hold on to the mappings as well (`Mappings`).
        #[allow(unsafe_code)]
        let region = unsafe { mapping.region(GuestAddress(address)) };
        let region = region.ok_or_else(|| no_room(id))?;
        memory::show(vm, slot, &region, mapping.is_read_only())?;
        self.memory = with(&self.memory, &Arc::new(region))?;
        let size = mapping.size();
        let (mapping, mapped) = Mapped::new(id, mapping, address);
        self.pmem.push((address, mapping));
        self.mapped.push(Arc::new(mapped));
        Ok(size)
    }

    /// Adds memory that is plugged in later, from this address and this slot of KVM on.
    fn add_hotplug(
        &mut self,
        vm: &VmFd,
        hotplug: &config::MemoryHotplug,
        (base, slot): (u64, u32),
        (machine, origin): (&MachineConfig, &RamOrigin<'_>),
    ) -> Result<(), StartError> {
        let size = u64::from(hotplug.total_size_mib) * MIB;
        let region = match origin {
            RamOrigin::New | RamOrigin::Process(_) | RamOrigin::Recorded(_) => {
                memory::lazy(machine, GuestAddress(base), size)?
            }
            RamOrigin::File(backing, offset, _) => {
                let part = backing.at(*offset);
                let region = memory::of_file(machine, (GuestAddress(base), size), part)?;
                self.mapped.push(Arc::new(Mapped::of_snapshot(&region)));
                region
            }
        };
        let shown = KvmSlots::new(vm, slot, &region, machine.track_dirty_pages).map_err(
            StartError::host("a descriptor for memory that is plugged in"),
        )?;
        let region = Arc::new(region);
        self.memory = with(&self.memory, &region)?;
        self.own = with(&self.own, &region)?;
        let slot_size = u64::from(hotplug.slot_size_mib) * MIB;
        let starts = (base..base + size).step_by(usize::try_from(slot_size).unwrap_or(usize::MAX));
        let slots = (slot..).zip(starts).map(|(number, start)| Slot {
            number,
            addresses: start..start + slot_size,
        });
        self.slots.extend(slots);
        self.hotplug = Some((base, Cell::new(Some(shown))));
        Ok(())
    }

    /// Makes the device of file number `index`, or restores it.
    pub(super) fn pmem(
        &self,
        index: usize,
        pmem: &config::Pmem,
        saved: Option<&DeviceState>,
    ) -> Result<Made, StartError> {
        let (address, mapping) = self.pmem.get(index).ok_or_else(|| no_room(&pmem.id))?;
        let config = PmemConfig {
            address: *address,
            rate: rate::limits(pmem.rate_limiter.as_ref()),
        };
        let mapping = mapping.clone();
        let device = match saved {
            None => Pmem::new(config, mapping).map_err(|source| StartError::Pmem {
                id: pmem.id.clone(),
                source,
            })?,
            Some(DeviceState::Pmem(state)) if state.config.address == *address => {
                let restored = Pmem::restore(state, mapping);
                restored.map_err(|error| saved::unlike(&Name::Pmem(pmem.id.clone()), error))?
            }
            Some(_) => return Err(saved::other(&Name::Pmem(pmem.id.clone()))),
        };
        Ok(Made {
            rates: vec![device.rate_control()],
            device: Box::new(device),
            threads: Threads::Alike(1),
            fence: None,
            first: None,
        })
    }

    /// Makes the device of memory that can be plugged in, or restores it.
    pub(super) fn hotplug(
        &self,
        hotplug: &config::MemoryHotplug,
        saved: Option<&DeviceState>,
    ) -> Result<Made, StartError> {
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
        let is_same = |state: &MemConfig| {
            let requested_size = 0;
            MemConfig {
                requested_size,
                ..*state
            } == config
        };
        let mem = match saved {
            None => Mem::new(config, Box::new(slots))?,
            Some(DeviceState::Mem(state)) if is_same(&state.config) => {
                let restored = Mem::restore(state, Box::new(slots));
                restored.map_err(|error| saved::unlike(&Name::Hotplug, error))?
            }
            Some(_) => return Err(saved::other(&Name::Hotplug)),
        };
        Ok(Made {
            device: Box::new(mem),
            rates: Vec::new(),
            threads: Threads::EventLoop,
            fence: None,
            first: None,
        })
    }

    /// What must live as long as anybody who has the guest's memory.
    pub(super) fn mappings(&self) -> Mappings {
        self.mapped.iter().cloned().collect()
    }
}
