//! Taking a snapshot of a machine that stands still. What comes when:
//!
//! 1. The devices, which end what they have in flight. It goes into the guest's memory, and may interrupt the guest.
//! 2. Ports, which may interrupt it as well.
//! 3. The vCPUs with their local APICs, and then the other interrupt controllers: nothing interrupts any more.
//! 4. The memory, which nobody writes any more. It is the long part. What KVM has noted of it since the last snapshot is collected before.
//! 5. The state, which says that all of it is there; and then both get their names.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hull_devices::GuestMemory;
use hull_devices::serial::SerialPort;
use hull_vm_api::Draft;
use hull_vm_api::config::HostPath;
use hull_vm_api::request::{SnapshotCreate, SnapshotType};
use kvm_ioctls::VmFd;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::format::v1::{BoardState, Device, Host, MemoryLabel, VcpuState};
use super::format::{self, FormatError, Snapshot};
use super::memory::dirty::{self, Slot};
use super::memory::{self, MemoryFileError, Saved, Which};
use crate::files::{Access, FileError, Files};
use crate::kvm::KvmError;
use crate::legacy::I8042;
use crate::vcpus::Waiting;
use crate::virtio::ToBeSaved;

/// How long the host may take for requests of devices that are in flight.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no snapshot. Nothing is left of it, and the machine stands still as before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error(
        "{device} has requests in flight that its host does not answer; try again, or resume the microVM"
    )]
    InFlight { device: String },
    #[error(
        "a vCPU waits for a device that is being reset; resume the microVM, and take the snapshot later"
    )]
    Vcpu,
    #[error(transparent)]
    Kvm(#[from] KvmError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{path} (mem_file_path) is the file that this microVM's memory comes from; name another descriptor"
    )]
    OwnMemory { path: HostPath },
    #[error("the memory's file {path}")]
    Memory {
        path: HostPath,
        source: MemoryFileError,
    },
    #[error("the state's file {path}")]
    State { path: HostPath, source: FormatError },
    #[error(
        "snapshot_type Diff needs a machine that notes what is written: set track_dirty_pages, of machine-config or when it is loaded, or take a Full one"
    )]
    NotTracked,
    #[error("the configuration cannot be saved")]
    Config(#[source] serde_json::Error),
    #[error(
        "the snapshot is whole, but its files cannot be put in their places, {memory} and {state}"
    )]
    Publish {
        memory: HostPath,
        state: HostPath,
        source: std::io::Error,
    },
}

/// Everything that a snapshot is taken of.
pub(crate) struct Subject {
    /// What the machine is.
    pub(crate) config: Draft,
    /// Devices in the order of their slots.
    pub(crate) devices: Vec<ToBeSaved>,
    pub(crate) keyboard: Arc<Mutex<I8042>>,
    pub(crate) serial: Option<Arc<Mutex<SerialPort>>>,
    pub(crate) vcpus: Waiting,
    /// The registers of vCPUs that are saved.
    pub(crate) msrs: Vec<u32>,
    pub(crate) vm: Arc<VmFd>,
    pub(crate) has_pit: bool,
    /// What goes into the memory's file.
    pub(crate) memory: GuestMemory,
    /// Pages that are not there are another process's.
    pub(crate) is_filled: bool,
    /// Where KVM notes what is written, if it is to.
    pub(crate) slots: Option<Vec<Slot>>,
    /// The snapshot before this one.
    pub(crate) last: Option<MemoryLabel>,
    /// `/proc/self/pagemap`.
    pub(crate) pagemap: Result<File, std::io::Error>,
    pub(crate) files: Files,
}

impl Subject {
    /// Takes the snapshot; the label of its memory.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn save(self, create: &SnapshotCreate) -> Result<MemoryLabel, CreateError> {
        let in_memory = |source| CreateError::Memory {
            path: create.mem_file_path.clone(),
            source,
        };
        let size = self.memory.iter().map(GuestMemoryRegion::len).sum();
        let base = match (create.snapshot_type, &self.slots) {
            (SnapshotType::Full, _) => None,
            // Without a snapshot before it everything is new.
            (SnapshotType::Diff, Some(_)) => self.last.clone(),
            (SnapshotType::Diff, None) => return Err(CreateError::NotTracked),
        };
        let label = MemoryLabel::new(size, base.as_ref()).map_err(in_memory)?;
        let snapshot = self.state(label.clone())?;
        if let Some(slots) = &self.slots {
            dirty::collect(&self.vm, slots, &self.memory)?;
        }
        let memory = self.begin_memory(create, base.as_ref())?;
        let path = &create.snapshot_path;
        let mut state = self.files.create("snapshot/create.snapshot_path", path)?;
        state.set_len(0).map_err(|error| failed(path, error))?;
        let pagemap = self.pagemap.map_err(MemoryFileError::Pagemap);
        let saved = Saved {
            memory: &self.memory,
            pagemap: &pagemap.map_err(in_memory)?,
            which: match base {
                None if self.is_filled => Which::Filled,
                None => Which::Full,
                Some(_) => Which::Diff,
            },
        };
        memory::write(saved, &label, &memory).map_err(in_memory)?;
        format::write(&snapshot, &mut state).map_err(|source| CreateError::State {
            path: path.clone(),
            source,
        })?;
        state.sync_all().map_err(|error| failed(path, error))?;
        let published = self.files.publish();
        published.map_err(|source| CreateError::Publish {
            memory: create.mem_file_path.clone(),
            state: path.clone(),
            source,
        })?;
        dirty::forget(&self.memory);
        Ok(label)
    }

    /// The memory's file: empty, unless what a diff is of is there already, whose place it takes. Not the one that is mapped, which a
    /// descriptor can lead to.
    fn begin_memory(
        &self,
        create: &SnapshotCreate,
        base: Option<&MemoryLabel>,
    ) -> Result<File, CreateError> {
        const WHAT: &str = "snapshot/create.mem_file_path";
        let path = &create.mem_file_path;
        let in_memory = |source| CreateError::Memory {
            path: path.clone(),
            source,
        };
        let is_base = |file: &File| base.is_some_and(|label| memory::base::has(file, label));
        let there = self.files.open(WHAT, path, Access::Read);
        let there = there.ok().filter(is_base);
        if there.is_some() && path.as_fd().is_some() {
            return Err(in_memory(MemoryFileError::Base));
        }
        let file = self.files.create(WHAT, path)?;
        let identity = |file: &File| {
            let metadata = file.metadata().ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let own = identity(&file);
        let mut mapped = self
            .memory
            .iter()
            .filter_map(GuestMemoryRegion::file_offset);
        if mapped.any(|mapped| identity(mapped.file()) == own) {
            let path = path.clone();
            return Err(CreateError::OwnMemory { path });
        }
        let emptied = file.set_len(0).map_err(MemoryFileError::refused);
        emptied.map_err(in_memory)?;
        if let Some(there) = there {
            memory::base::copy(&there, &file).map_err(in_memory)?;
        }
        Ok(file)
    }

    /// The state of everything but the memory.
    fn state(&self, memory: MemoryLabel) -> Result<Snapshot, CreateError> {
        let device = |device: &ToBeSaved| {
            let name = device.name.clone();
            let transport = device.save(PATIENCE);
            Ok::<_, CreateError>(Device {
                transport: transport.ok_or_else(|| CreateError::InFlight {
                    device: name.clone(),
                })?,
                name,
            })
        };
        let devices = self.devices.iter().map(device).collect::<Result<_, _>>()?;
        let keyboard = lock(&self.keyboard).save();
        let serial = self.serial.as_ref().map(|port| lock(port).save());
        let msrs = self.msrs.clone();
        let vcpus = self.vcpus.each(move |vcpu| VcpuState::save(vcpu, &msrs));
        let vcpus = vcpus.map_err(|_| CreateError::Vcpu)?;
        let board = BoardState::save(&self.vm, self.has_pit)?;
        Ok(Snapshot {
            host: Host::here(),
            config: serde_json::to_string(&self.config).map_err(CreateError::Config)?,
            memory,
            vcpus: vcpus.into_iter().collect::<Result<_, _>>()?,
            board,
            keyboard,
            serial,
            devices,
        })
    }
}

fn failed(path: &HostPath, error: std::io::Error) -> CreateError {
    CreateError::State {
        path: path.clone(),
        source: FormatError::Write(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
