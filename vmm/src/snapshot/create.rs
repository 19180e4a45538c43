//! Taking a snapshot of a machine that stands still. What comes when:
//!
//! 1. The devices, which end what they have in flight. It goes into the guest's memory, and may interrupt the guest.
//! 2. Ports, which may interrupt it as well.
//! 3. The vCPUs with their local APICs, and then the other interrupt controllers: nothing interrupts any more.
//! 4. The memory, which nobody writes any more. It is the long part. What KVM has noted of it since the last snapshot is collected before.
//! 5. The state, which says that all of it is there; and then both get their names.
//!
//! Of one that runs, a copy of the process does the long part ([`super::live`]).

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
use super::live::LiveError;
use super::memory::dirty::{self, Noted, Slot};
use super::memory::{self, Chosen, MemoryFileError, Missing, Saved, Which};
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
    #[error(transparent)]
    Live(#[from] LiveError),
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
    /// Who has the pages that are not there, if somebody does.
    pub(crate) missing: Option<Missing>,
    /// Where KVM notes what is written, if it is to.
    pub(crate) slots: Option<Vec<Slot>>,
    /// The snapshot before this one.
    pub(crate) last: Option<MemoryLabel>,
    /// `/proc/self/pagemap`.
    pub(crate) pagemap: Result<File, std::io::Error>,
    pub(crate) files: Files,
}

/// The files of a snapshot, which are open, and what it is to be.
pub(super) struct Begun {
    pub(super) label: MemoryLabel,
    is_diff: bool,
    pub(super) memory: File,
    state: File,
}

impl Subject {
    /// Takes the snapshot of a machine that stands still; the label of its memory.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn save(self, create: &SnapshotCreate) -> Result<MemoryLabel, CreateError> {
        let mut begun = self.begin(create)?;
        let snapshot = self.state(begun.label.clone(), PATIENCE)?;
        let noted = self.noted()?;
        let saved = self.saved(begun.is_diff, &noted);
        let written = saved.and_then(|saved| memory::write(saved, &begun.label, &begun.memory));
        written.map_err(in_memory(create))?;
        begun.write_state(create, &snapshot)?;
        self.publish(create)?;
        noted.forget();
        Ok(begun.label)
    }

    /// Opens its files.
    ///
    /// # Errors
    /// Why there can be none.
    pub(super) fn begin(&self, create: &SnapshotCreate) -> Result<Begun, CreateError> {
        let size = self.memory.iter().map(GuestMemoryRegion::len).sum();
        let base = match (create.snapshot_type, &self.slots) {
            (SnapshotType::Full, _) => None,
            // Without a snapshot before it everything is new.
            (SnapshotType::Diff, Some(_)) => self.last.as_ref(),
            (SnapshotType::Diff, None) => return Err(CreateError::NotTracked),
        };
        let label = MemoryLabel::new(size, base).map_err(in_memory(create))?;
        let memory = self.begin_memory(create, base)?;
        let path = &create.snapshot_path;
        let state = self.files.create("snapshot/create.snapshot_path", path)?;
        state.set_len(0).map_err(|error| failed(path, error))?;
        Ok(Begun {
            label,
            is_diff: base.is_some(),
            memory,
            state,
        })
    }

    /// What was written until now.
    ///
    /// # Errors
    /// If KVM does not tell.
    pub(super) fn noted(&self) -> Result<Noted, KvmError> {
        if let Some(slots) = &self.slots {
            dirty::collect(&self.vm, slots, &self.memory)?;
        }
        Ok(Noted::take(&self.memory))
    }

    /// What of the memory is saved.
    ///
    /// # Errors
    /// If the host does not tell which pages there are.
    fn saved<'a>(&'a self, is_diff: bool, noted: &'a Noted) -> Result<Saved<'a>, MemoryFileError> {
        let pagemap = self.pagemap.as_ref().map_err(|error| {
            let number = error.raw_os_error().unwrap_or(libc::ENOENT);
            MemoryFileError::Pagemap(std::io::Error::from_raw_os_error(number))
        });
        Ok(Saved {
            memory: &self.memory,
            pagemap: pagemap?,
            which: match is_diff {
                true => Which::Diff(noted),
                false if self.missing.is_some() => Which::Filled,
                false => Which::Full,
            },
        })
    }

    /// Puts the files in their places.
    ///
    /// # Errors
    /// The host's answer.
    pub(super) fn publish(&self, create: &SnapshotCreate) -> Result<(), CreateError> {
        let published = self.files.publish();
        published.map_err(|source| CreateError::Publish {
            memory: create.mem_file_path.clone(),
            state: create.snapshot_path.clone(),
            source,
        })
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
        let in_memory = in_memory(create);
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
        let regions = self.memory.iter();
        let mut mapped = regions.filter_map(|region| Some(region.file_offset()?.file()));
        let is_read =
            matches!(&self.missing, Some(Missing::InFile(file)) if identity(file.file()) == own);
        if is_read || mapped.any(|mapped| identity(mapped) == own) {
            let path = path.clone();
            return Err(CreateError::OwnMemory { path });
        }
        let emptied = file.set_len(0).map_err(MemoryFileError::refused);
        emptied.map_err(&in_memory)?;
        if let Some(there) = there {
            memory::base::copy(&there, &file).map_err(in_memory)?;
        }
        Ok(file)
    }

    /// The state of everything but the memory.
    ///
    /// # Errors
    /// What is not told, or not within that time.
    pub(super) fn state(
        &self,
        memory: MemoryLabel,
        patience: Duration,
    ) -> Result<Snapshot, CreateError> {
        let device = |device: &ToBeSaved| {
            let name = device.name.clone();
            let transport = device.save(patience);
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

impl Begun {
    /// What of the memory is chosen now.
    ///
    /// # Errors
    /// If the host does not tell which pages there are.
    pub(super) fn choose(
        &self,
        subject: &Subject,
        noted: &Noted,
    ) -> Result<Chosen, MemoryFileError> {
        memory::choose(subject.saved(self.is_diff, noted)?)
    }

    /// Writes the state, and brings it to its disk.
    ///
    /// # Errors
    /// What the host refused.
    pub(super) fn write_state(
        &mut self,
        create: &SnapshotCreate,
        snapshot: &Snapshot,
    ) -> Result<(), CreateError> {
        let path = &create.snapshot_path;
        let written = format::write(snapshot, &mut self.state);
        written.map_err(|source| CreateError::State {
            path: path.clone(),
            source,
        })?;
        self.state.sync_all().map_err(|error| failed(path, error))
    }
}

/// For `map_err`: of the memory's file.
pub(super) fn in_memory(create: &SnapshotCreate) -> impl Fn(MemoryFileError) -> CreateError {
    |source| CreateError::Memory {
        path: create.mem_file_path.clone(),
        source,
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
