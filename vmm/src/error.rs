//! Everything that can keep a machine from starting, and the exit status that each has.

use std::error::Error;

use hull_vm_api::ExitCause;
use hull_vm_api::config::ConfigError;

use crate::affinity::AffinityError;
use crate::bus::Overlap;
use crate::command_line::TooLong;
use crate::cpu::{CpuError, TemplateError};
use crate::files::FileError;
use crate::kvm::KvmError;
use crate::memory::MemoryError;
use crate::probe::ProbeError;
use crate::socket::SocketError;

/// Why a machine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A machine without anything to boot.
    #[error("there is nothing to boot; name a kernel in boot-source")]
    NoConfig,
    /// Something that cannot be had.
    #[error("{0} is refused: {1}")]
    Refused(&'static str, &'static str),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::SandboxError),
    /// The configuration's file.
    #[error(transparent)]
    ConfigFile(FileError),
    /// A file that is hardly what it should be.
    #[error("{what} has more than {most} bytes, which is too much for it")]
    LongFile {
        /// The argument that names it.
        what: &'static str,
        /// Bytes.
        most: u64,
    },
    /// The file that names a snapshot.
    #[error("--load-file is no body of a request to /snapshot/load")]
    LoadFile(#[source] serde_json::Error),
    /// The metadata's file.
    #[error("--metadata is no JSON object")]
    Metadata(#[source] serde_json::Error),
    /// What is in it.
    #[error("--metadata: {0}")]
    MetadataLimit(hull_vm_api::Fault),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command line of the kernel.
    #[error(transparent)]
    CommandLine(#[from] TooLong),
    /// A file that it names.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel's or initramfs's file.
    #[error(transparent)]
    KernelFile(FileError),
    /// What is in them.
    #[error("{what} {path}")]
    Kernel {
        /// Kernel or initramfs.
        what: &'static str,
        /// As configured.
        path: String,
        /// What is wrong with it.
        #[source]
        source: hull_arch::boot::Error,
    },
    /// KVM.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// What KVM does with kernels.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The guest's memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// What its vCPUs look like.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Where its vCPUs run.
    #[error(transparent)]
    Affinity(#[from] AffinityError),
    /// The vsock device's socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A drive whose file does not serve.
    #[error("drives: {id:?} cannot be a disk")]
    Drive {
        /// Its drive_id.
        id: String,
        /// Why.
        #[source]
        source: hull_devices::block::DiskError,
    },
    /// A drive that the host cannot serve.
    #[error("drives: {id:?} cannot be set up")]
    Block {
        /// Its drive_id.
        id: String,
        /// Why.
        #[source]
        source: hull_devices::block::BlockError,
    },
    /// A file that another machine uses.
    #[error(
        "{path} ({id:?}) is in use by another microVM: one can write a file, or several read it; give this one a file of its own, \
         or make it read-only in all of them"
    )]
    DiskInUse {
        /// The drive's or pmem device's id.
        id: String,
        /// The file.
        path: hull_vm_api::config::HostPath,
    },
    /// A TAP that cannot be had.
    #[error("a host_dev_name of network-interfaces cannot be had")]
    Tap(#[from] hull_vm_api::tap::TapError),
    /// A network interface.
    #[error("network-interfaces: {id:?} cannot be set up")]
    Net {
        /// Its iface_id.
        id: String,
        /// Why.
        #[source]
        source: hull_devices::net::NetError,
    },
    /// The metadata service.
    #[error("mmds-config: the metadata service cannot be set up")]
    Mmds(#[from] hull_devices::net::mmds::MmdsError),
    /// A shared directory.
    #[error("shares: {tag:?} cannot be set up")]
    Share {
        /// Its tag.
        tag: String,
        /// Why.
        #[source]
        source: hull_devices::fs::FsError,
    },
    /// A file that does not become memory.
    #[error("pmem: {id:?} cannot be mapped")]
    Mapping {
        /// Its id.
        id: String,
        /// Why.
        #[source]
        source: hull_devices::pmem::MappingError,
    },
    /// A pmem device.
    #[error("pmem: {id:?} cannot be set up")]
    Pmem {
        /// Its id.
        id: String,
        /// Why.
        #[source]
        source: hull_devices::pmem::PmemError,
    },
    /// Files that do not fit.
    #[error("pmem: {0:?} does not fit into the guest's address space; leave it out")]
    NoRoom(String),
    /// The balloon.
    #[error("the balloon cannot be set up")]
    Balloon(#[from] hull_devices::balloon::BalloonError),
    /// Memory that can be plugged in.
    #[error("memory-hotplug cannot be set up")]
    Hotplug(#[from] hull_devices::mem::MemConfigError),
    /// The vsock device.
    #[error("vsock cannot be set up")]
    Vsock(#[from] hull_devices::vsock::VsockError),
    /// The console.
    #[error("the console cannot be set up")]
    Console(#[from] hull_devices::console::ConsoleError),
    /// More devices than interrupt lines.
    #[error("there are more devices than interrupt lines; leave some drives out")]
    TooManyDevices,
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] crate::snapshot::load::LoadError),
    /// A device that the configuration has and the state has not, or the other way round.
    #[error(
        "the snapshot's state does not go with its own configuration at {0}; it is damaged, or was made by no hull-vmm"
    )]
    SavedDevice(String),
    /// What is behind a device is not what was.
    #[error("{device} cannot go on where it was")]
    Restore {
        /// Which.
        device: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// What a device's thread begins with takes too long.
    #[error("{0} cannot go on where it was: its host's files do not answer; try again")]
    Slow(String),
    /// A guest that rebooted and cannot be started again.
    #[error("the guest rebooted, and one of its vCPUs does not stop, so it is not started again")]
    Stuck,
    /// Two devices at one address, which is a mistake in this program.
    #[error(transparent)]
    Bus(#[from] Overlap),
    /// The event loop.
    #[error("the event loop does not start")]
    EventLoop(#[from] event_manager::Error),
    /// Something else that the host refused.
    #[error("the host refused {0}")]
    Host(&'static str, #[source] std::io::Error),
}

impl StartError {
    /// For `map_err`: the host refused `what`.
    pub fn host<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Host(what, error.into())
    }

    /// The exit status that goes with it.
    #[must_use]
    pub fn cause(&self) -> ExitCause {
        match self {
            Self::NoConfig
            | Self::Refused(..)
            | Self::ConfigFile(_)
            | Self::LongFile { .. }
            | Self::LoadFile(_)
            | Self::Metadata(_)
            | Self::MetadataLimit(_)
            | Self::Config(_)
            | Self::CommandLine(_)
            | Self::NoRoom(_)
            | Self::Hotplug(_)
            | Self::Affinity(AffinityError::NoCpu { .. })
            | Self::Template(_)
            | Self::Snapshot(_)
            | Self::SavedDevice(_)
            | Self::TooManyDevices => ExitCause::BadConfig,
            Self::File(
                FileError::UnknownFd { .. } | FileError::ClosedFd { .. } | FileError::TwoFds(_),
            ) => ExitCause::BadConfig,
            Self::KernelFile(_) | Self::Kernel { .. } => ExitCause::BadKernel,
            Self::Kvm(_) | Self::Probe(_) | Self::Memory(MemoryError::Kvm(_)) => ExitCause::NoKvm,
            Self::File(_)
            | Self::Memory(_)
            | Self::Affinity(_)
            | Self::Socket(_)
            | Self::Drive { .. }
            | Self::Block { .. }
            | Self::DiskInUse { .. }
            | Self::Tap(_)
            | Self::Net { .. }
            | Self::Mmds(_)
            | Self::Share { .. }
            | Self::Mapping { .. }
            | Self::Pmem { .. }
            | Self::Balloon(_)
            | Self::Vsock(_)
            | Self::Console(_)
            | Self::Restore { .. }
            | Self::Slow(_)
            | Self::Sandbox(_)
            | Self::Host(..) => ExitCause::NoResource,
            Self::Stuck | Self::Bus(_) | Self::EventLoop(_) => ExitCause::Failure,
        }
    }
}

impl From<CpuError> for StartError {
    fn from(error: CpuError) -> Self {
        match error {
            CpuError::Kvm(error) => error.into(),
            CpuError::Template(error) => error.into(),
        }
    }
}

/// An error with what it came from.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        sentence.push_str(": ");
        sentence.push_str(&error.to_string());
        source = error.source();
    }
    sentence
}
