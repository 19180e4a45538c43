//! Everything that can keep a machine from starting, and the exit status that each has.

use std::error::Error;

use hull_vm_api::ExitCause;
use hull_vm_api::config::ConfigError;

use crate::bus::Overlap;
use crate::command_line::TooLong;
use crate::files::FileError;
use crate::kvm::KvmError;
use crate::memory::MemoryError;
use crate::socket::SocketError;

/// Why a machine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Neither a configuration nor an API to ask.
    #[error(
        "there is nothing to run; name a configuration with --config-file FILE, or a socket for the API with --api-sock PATH"
    )]
    NoConfig,
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
    /// The metadata's file.
    #[error("--metadata is no JSON object")]
    Metadata(#[source] serde_json::Error),
    /// What is in it.
    #[error("--metadata: {0}")]
    MetadataLimit(hull_vm_api::Fault),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something that the configuration asks for and this program does not have.
    #[error("{0} is not supported by this hull-vmm; leave it out")]
    Unsupported(&'static str),
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
    /// The guest's memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
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
    /// The vsock device.
    #[error("vsock cannot be set up")]
    Vsock(#[from] hull_devices::vsock::VsockError),
    /// The console.
    #[error("the console cannot be set up")]
    Console(#[from] hull_devices::console::ConsoleError),
    /// More devices than interrupt lines.
    #[error("there are more devices than interrupt lines; leave some drives out")]
    TooManyDevices,
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
            | Self::ConfigFile(_)
            | Self::LongFile { .. }
            | Self::Metadata(_)
            | Self::MetadataLimit(_)
            | Self::Config(_)
            | Self::Unsupported(_)
            | Self::CommandLine(_)
            | Self::TooManyDevices => ExitCause::BadConfig,
            Self::File(
                FileError::UnknownFd { .. } | FileError::ClosedFd { .. } | FileError::TwoFds(_),
            ) => ExitCause::BadConfig,
            Self::KernelFile(_) | Self::Kernel { .. } => ExitCause::BadKernel,
            Self::Kvm(_) | Self::Memory(MemoryError::Kvm(_)) => ExitCause::NoKvm,
            Self::File(_)
            | Self::Memory(_)
            | Self::Socket(_)
            | Self::Drive { .. }
            | Self::Block { .. }
            | Self::Vsock(_)
            | Self::Console(_)
            | Self::Host(..) => ExitCause::NoResource,
            Self::Bus(_) | Self::EventLoop(_) => ExitCause::Failure,
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
