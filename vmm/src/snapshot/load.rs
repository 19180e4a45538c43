//! Reading a snapshot: what the machine is to be, on which files of this host.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use hull_vm_api::Draft;
use hull_vm_api::config::HostPath;
use hull_vm_api::request::{MemoryBackendType, SnapshotLoad};

use super::board::BoardError;
use super::format::{self, FormatError, Snapshot};
use super::host::HostError;
use super::memory::faults::Handler;
use super::memory::recording::{Recording, Target};
use super::memory::working_set::{WorkingSet, WorkingSetError};
use super::memory::{Backing, MemoryFileError, Origin};
use super::vcpu::VcpuError;
use crate::files::{Access, FileError, Files};
use crate::keeper::ask::Ask;
use crate::virtio::access;

/// Why a snapshot is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// The state's file.
    #[error("the snapshot {path} cannot be loaded")]
    State {
        /// As it was named.
        path: HostPath,
        /// Why.
        source: FormatError,
    },
    /// The memory's file.
    #[error("the memory {path} cannot be loaded")]
    Memory {
        /// As it was named.
        path: HostPath,
        /// Why.
        source: MemoryFileError,
    },
    /// Memory from another process.
    #[error(
        "mem_backend.backend_type Uffd needs /dev/userfaultfd (CONFIG_USERFAULTFD, Linux 6.1 or newer, and the right to open it)"
    )]
    Faults(#[source] io::Error),
    /// What records a working set.
    #[error(
        "mem_backend.working_set has nothing yet, and to record it takes /dev/userfaultfd (CONFIG_USERFAULTFD, Linux 6.1 or newer, and the right to open it); leave working_set out, or name one that was recorded elsewhere"
    )]
    Recording(#[source] io::Error),
    /// A file that is no working set.
    #[error("the working set {path} cannot be used")]
    WorkingSet {
        /// As it was named.
        path: HostPath,
        /// Why.
        source: WorkingSetError,
    },
    /// What the machine is.
    #[error("the snapshot's machine cannot be made here: {0}")]
    Config(String),
    /// The processor.
    #[error("the snapshot cannot run on this host")]
    Host(#[from] HostError),
    /// vCPUs.
    #[error("the snapshot cannot run on this host")]
    Vcpu(#[from] VcpuError),
    /// What they share.
    #[error("the snapshot cannot run on this host")]
    Board(#[from] BoardError),
    /// Parts of the state do not go together.
    #[error(
        "the snapshot's state has {there} {what}, and its configuration {wanted}; it is damaged, or was made by no hull-vmm"
    )]
    Count {
        /// Of what.
        what: &'static str,
        /// In the state.
        there: u64,
        /// In the configuration.
        wanted: u64,
    },
    /// The serial port.
    #[error("the snapshot's serial port cannot go on")]
    Serial(#[from] hull_devices::serial::SerialRestoreError),
}

/// What the state's file is for.
const STATE: &str = "snapshot/load.snapshot_path";

impl LoadError {
    /// Whether it is so while a snapshot's files get their names: the memory is there, and its state is not.
    fn is_of_unfinished(&self) -> bool {
        match self {
            Self::File(FileError::Open { what, source, .. }) => {
                *what == STATE && source.kind() == io::ErrorKind::NotFound
            }
            Self::Memory { source, .. } => matches!(source, MemoryFileError::Other),
            _ => false,
        }
    }
}

/// Reads a file from its start, wherever whoever has it as well is in it.
struct FromStart<'a>(&'a File, u64);

impl Read for FromStart<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_at(bytes, self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}

/// A snapshot that was read, and is to become a machine.
#[derive(Debug)]
pub(crate) struct Restored {
    /// What the machine is, on this host.
    pub(crate) draft: Draft,
    /// Its state.
    pub(crate) snapshot: Snapshot,
    /// Its memory.
    pub(crate) memory: Origin,
    /// Its guest's clock goes on by the time that has passed.
    pub(crate) with_time: bool,
}

/// Asks for a snapshot's files at once.
fn ask_for_pair(load: &SnapshotLoad, files: &Files) {
    let mut needed = vec![&load.snapshot_path];
    if load.mem_backend.backend_type == MemoryBackendType::File {
        needed.push(&load.mem_backend.backend_path);
        needed.extend(&load.mem_backend.working_set);
    }
    let ask = |path: &HostPath| Ask::File(path.clone(), Access::Read);
    files.ask_ahead(needed.into_iter().map(ask).collect());
}

/// Reads a state, and opens what its memory comes from.
fn pair(
    load: &SnapshotLoad,
    path: &HostPath,
    files: &Files,
) -> Result<(Snapshot, Origin), LoadError> {
    let file = files.open(STATE, path, Access::Read)?;
    let snapshot = format::read(&mut FromStart(&file, 0)).map_err(|source| LoadError::State {
        path: path.clone(),
        source,
    })?;
    let memory = memory(load, &snapshot, files)?;
    Ok((snapshot, memory))
}

/// The same, unless who wrote them last was killed when the memory was in its place and the state was not: then the state is beside it.
fn whole_pair(load: &SnapshotLoad, files: &Files) -> Result<(Snapshot, Origin), LoadError> {
    let error = match pair(load, &load.snapshot_path, files) {
        Err(error) if error.is_of_unfinished() => error,
        result => return result,
    };
    let Some(pending) = load.pending_path() else {
        return Err(error);
    };
    let Ok(whole) = pair(load, &pending, files) else {
        return Err(error);
    };
    tracing::warn!(
        "{pending} is loaded in place of {}: who wrote it was killed before it had its name",
        load.snapshot_path
    );
    Ok(whole)
}

/// Opens what the memory comes from.
fn memory(load: &SnapshotLoad, snapshot: &Snapshot, files: &Files) -> Result<Origin, LoadError> {
    const WHAT: &str = "snapshot/load.mem_backend.backend_path";
    let path = &load.mem_backend.backend_path;
    if load.mem_backend.backend_type == MemoryBackendType::Uffd {
        return Ok(Origin::Process(Handler {
            socket: files.fault_handler(WHAT, path)?,
            device: files.faults().map_err(LoadError::Faults)?,
        }));
    }
    let backing = Backing::new(files.open(WHAT, path, Access::Read)?, &snapshot.memory);
    let backing = backing.map_err(|source| LoadError::Memory {
        path: path.clone(),
        source,
    })?;
    let Some(path) = &load.mem_backend.working_set else {
        return Ok(Origin::File(backing, None));
    };
    if let Some(set) = recorded(path, snapshot, files)? {
        return Ok(Origin::File(backing, Some(Arc::new(set))));
    }
    let target = Target {
        file: files.working_set(WORKING_SET, path)?,
        path: path.clone(),
        label: snapshot.memory.clone(),
        files: files.clone(),
    };
    Ok(Origin::Recorded(Recording {
        backing,
        device: files.faults().map_err(LoadError::Recording)?,
        target: Arc::new(target),
    }))
}

const WORKING_SET: &str = "snapshot/load.mem_backend.working_set";

/// What was recorded of this snapshot before.
fn recorded(
    path: &HostPath,
    snapshot: &Snapshot,
    files: &Files,
) -> Result<Option<WorkingSet>, LoadError> {
    let file = match files.open(WORKING_SET, path, Access::Read) {
        Ok(file) => file,
        Err(FileError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    match WorkingSet::read(&file, &snapshot.memory) {
        Ok(set) => Ok(set),
        // Whatever it is, it is not for this to take its place.
        Err(source @ (WorkingSetError::Foreign | WorkingSetError::Read(_))) => {
            let path = path.clone();
            Err(LoadError::WorkingSet { path, source })
        }
        Err(error) => {
            tracing::warn!("the working set {path} is recorded anew: {error}");
            Ok(None)
        }
    }
}

impl Restored {
    /// Reads the state and looks at its memory. `process` has the terminals, the log and the figures.
    ///
    /// # Errors
    /// What is wrong with them, or with what is to take the place of something.
    pub(crate) fn read(
        load: &SnapshotLoad,
        process: &Draft,
        files: &Files,
    ) -> Result<Self, LoadError> {
        ask_for_pair(load, files);
        let (snapshot, memory) = whole_pair(load, files)?;
        let saved: Draft = serde_json::from_str(&snapshot.config)
            .map_err(|error| LoadError::Config(error.to_string()))?;
        let draft = saved.restored(load, process);
        let draft = draft.map_err(|error| LoadError::Config(error.to_string()))?;
        let restored = Self {
            draft,
            snapshot,
            memory,
            with_time: load.clock_realtime,
        };
        restored.check()?;
        Ok(restored)
    }

    /// Asks for what the machine's devices are made of, as far as one knows without making them.
    pub(crate) fn ask_ahead(&self, files: &Files) {
        let drives = self.draft.drives_in_order();
        let mut needed: Vec<_> = drives
            .into_iter()
            .flat_map(|drive| {
                let access = access(drive);
                let paths = drive.path_on_host.iter().chain(&drive.parts);
                paths.map(move |path| Ask::File(path.clone(), access))
            })
            .collect();
        let vsock = self.draft.vsock.as_ref();
        needed.extend(vsock.map(|vsock| Ask::Listener(vsock.uds_path.clone())));
        if !needed.is_empty() {
            files.ask_ahead(needed);
        }
    }

    /// Whether the parts go together.
    fn check(&self) -> Result<(), LoadError> {
        let machine = &self.draft.machine_config;
        let hotplug = self.draft.memory_hotplug.as_ref();
        let hotplug = hotplug.map_or(0, |hotplug| u64::from(hotplug.total_size_mib));
        let counts = [
            (
                "vCPUs",
                self.snapshot.vcpus.len() as u64,
                u64::from(machine.vcpu_count),
            ),
            (
                "bytes of memory",
                self.snapshot.memory.size,
                machine.mem_size_mib.saturating_add(hotplug) << 20,
            ),
            (
                "serial ports",
                u64::from(self.snapshot.serial.is_some()),
                u64::from(self.draft.serial.is_some()),
            ),
        ];
        for (what, there, wanted) in counts {
            if there != wanted {
                return Err(LoadError::Count {
                    what,
                    there,
                    wanted,
                });
            }
        }
        Ok(())
    }
}
