//! Reading a snapshot: what the machine is to be, on which files of this host.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use hull_vm_api::Draft;
use hull_vm_api::config::HostPath;
use hull_vm_api::request::{MemoryBackendType, SnapshotLoad};

use super::board::BoardError;
use super::format::{self, FormatError, Snapshot};
use super::host::HostError;
use super::memory::faults::Handler;
use super::memory::{Backing, MemoryFileError, Origin};
use super::vcpu::VcpuError;
use crate::files::{Access, FileError, Files};

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
    Ok(Origin::File(backing))
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
        let path = &load.snapshot_path;
        let file = files.open("snapshot/load.snapshot_path", path, Access::Read)?;
        let snapshot =
            format::read(&mut FromStart(&file, 0)).map_err(|source| LoadError::State {
                path: path.clone(),
                source,
            })?;
        let saved: Draft = serde_json::from_str(&snapshot.config)
            .map_err(|error| LoadError::Config(error.to_string()))?;
        let draft = saved.restored(load, process);
        let draft = draft.map_err(|error| LoadError::Config(error.to_string()))?;
        let memory = memory(load, &snapshot, files)?;
        let restored = Self {
            draft,
            snapshot,
            memory,
            with_time: load.clock_realtime,
        };
        restored.check()?;
        Ok(restored)
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
