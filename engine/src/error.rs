//! Everything that can go wrong with a container, with the exit code that Docker's clients know.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::container::{ContainerId, InvalidName};
use crate::disk::{DiskError, InvalidDisk};
use crate::programs::MissingProgram;
use crate::session::SessionError;
use crate::snapshot::SnapshotError;
use crate::spec::{InvalidProcess, InvalidSize};
use crate::vm::MachineError;
use crate::volume::VolumeError;

/// An operation of the engine failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The options make no process.
    #[error(transparent)]
    Process(#[from] InvalidProcess),
    /// The machine cannot have the size that was asked for.
    #[error(transparent)]
    Size(#[from] InvalidSize),
    /// The disk cannot have the size that was asked for.
    #[error(transparent)]
    DiskSize(#[from] InvalidDisk),
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Another container has the name.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{by}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        by: ContainerId,
    },
    /// No container has this name or id.
    #[error("No such container: {0}")]
    NotFound(String),
    /// Several ids begin so.
    #[error("{0:?} begins the ids of several containers: give more digits")]
    Ambiguous(String),
    /// A container that runs is not removed by accident.
    #[error("container {0} is running: stop it first, or force its removal")]
    Running(String),
    /// The container is not in a state in which that can be done.
    #[error("container {id} cannot be {what} now: it was {what} before, or has ended")]
    Order {
        /// The container.
        id: ContainerId,
        /// What was asked.
        what: &'static str,
    },
    /// The image cannot be had.
    #[error(transparent)]
    Image(#[from] hull_image::store::Error),
    /// Something about a volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// What was to be mounted is not there.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {}", .0.display())]
    NoSource(PathBuf),
    /// What was to be mounted is neither a directory nor a file nor a socket.
    #[error("{0} cannot be mounted: it is {1}, which no guest can use")]
    UnsharedSource(PathBuf, &'static str),
    /// A machine has no room for so many.
    #[error(
        "a container can mount at most {most} directories, files and volumes of the host, and this one mounts {count}"
    )]
    ManyMounts {
        /// So many were asked for.
        count: usize,
        /// So many there can be.
        most: usize,
    },
    /// Two things in one place.
    #[error("Duplicate mount point: {0}")]
    SamePlace(String),
    /// The writable layer cannot be made.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A part of Hull is missing.
    #[error(transparent)]
    Program(#[from] MissingProgram),
    /// The VMM does not start.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The host cannot run microVMs, or what it can do was not found out.
    #[error(transparent)]
    Host(#[from] crate::host::HostError),
    /// The VMM ended before the process had started.
    #[error("the microVM ended before the container was started: {0}")]
    MachineEnded(String),
    /// The guest does not come up.
    #[error(
        "the microVM's agent did not answer within {} seconds; the machine was ended{}", .after.as_secs(), last_words(.log)
    )]
    Silent {
        /// How long was waited.
        after: Duration,
        /// The last line of the VMM's log.
        log: String,
    },
    /// The agent refused, or the channel to it broke.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Somebody asked for the end of the container while it was being started.
    #[error("the start was interrupted")]
    Interrupted,
    /// Something about a snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The container's owner does not do what it was asked for.
    #[error("container {container} cannot be {what}: {why}")]
    Refused {
        /// The container.
        container: String,
        /// What was asked.
        what: &'static str,
        /// What its owner says.
        why: String,
    },
    /// The container does not run.
    #[error("Container {0} is not running")]
    NotRunning(String),
    /// The container has no machine in files.
    #[error("Container {0} is not suspended")]
    NotSuspended(String),
    /// What cannot be done while its machine is in files.
    #[error("Container {0} is suspended, resume it first")]
    Suspended(String),
    /// What cannot be done while its files are a snapshot's.
    #[error(
        "Container {0} goes on from a snapshot, and has no files of its own before it is started: start it first"
    )]
    NotBegun(String),
    /// A program of the container's cannot be run, or its machine does not come up.
    #[error("{message}")]
    Start {
        /// Why, in the words that its owner has for it.
        message: String,
        /// As Docker's client exits.
        code: u8,
        /// What it is to whoever asked.
        kind: ErrorKind,
    },
    /// The process that is to own the container does not do so.
    #[error("the owner of container {container} failed: {why}")]
    Owner {
        /// The container.
        container: String,
        /// What it says.
        why: String,
    },
    /// What cannot be done while its vCPUs stand still.
    #[error("Container {0} is paused, unpause the container before {1}")]
    Paused(String, &'static str),
    /// No exec has this id.
    #[error("No such exec instance: {0}")]
    NoExec(String),
    /// An exec is started once.
    #[error("exec {0} has already been started")]
    ExecStarted(String),
    /// An exec that has ended.
    #[error("exec {0} is not running")]
    ExecEnded(String),
    /// What was written is not kept.
    #[error("configured logging driver does not support reading")]
    NoLog,
    /// One daemon is enough.
    #[error("another daemon has {0}: stop it first, or set HULL_ROOT to another directory")]
    AnotherDaemon(PathBuf),
    /// A machine that was saved for others to start from does not go on.
    #[error("the microVM cannot go on after a template was made of it")]
    Template(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A container that runs gets no more interfaces.
    #[error(
        "the container's microVM has no free network interface for network {0}:          disconnect it from another network, or stop and start it"
    )]
    NoSpare(String),
    /// A container is in a network once.
    #[error("endpoint with name {container} already exists in network {network}")]
    Connected {
        /// The container's name.
        container: String,
        /// The network's.
        network: String,
    },
    /// It is not there to be taken out.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container's id.
        container: String,
        /// The network's name.
        network: String,
    },
    /// A container that was to have no network.
    #[error(
        "container cannot be connected to multiple networks with one of the networks in private (none) mode"
    )]
    NoNetwork,
    /// A network cannot be used.
    #[error(transparent)]
    Network(#[from] crate::network::Error),
    /// An image that no guest can have as a disk.
    #[error("the image is larger than 16 TiB, which is more than a disk of its kind can be")]
    LargeImage,
    /// A path that is too long for a Unix socket.
    #[error(
        "the runtime directory {0} is too long for sockets, or no UTF-8: set HULL_RUN to another one"
    )]
    LongRuntime(PathBuf),
    /// The operating system refused.
    #[error("cannot {verb} {path}{}", hint(.source))]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What an error is to whoever asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// There is no such thing.
    NotFound,
    /// Something is not in the state in which that can be done, or there already.
    Conflict,
    /// What was asked for makes no sense.
    Invalid,
    /// It must not be done, however it is asked for.
    Forbidden,
    /// Something went wrong here.
    #[default]
    Internal,
}

impl Error {
    /// What it is to whoever asked.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::NoExec(_) | Self::Volume(VolumeError::NotFound(_)) => {
                ErrorKind::NotFound
            }
            Self::Image(hull_image::store::Error::NotFound(_)) => ErrorKind::NotFound,
            Self::Network(error) => network(error),
            Self::NotConnected { .. } => ErrorKind::NotFound,
            Self::Connected { .. } | Self::NoSpare(_) => ErrorKind::Forbidden,
            Self::NoNetwork => ErrorKind::Invalid,
            Self::Snapshot(SnapshotError::NotFound(_)) => ErrorKind::NotFound,
            Self::Snapshot(
                SnapshotError::Taken(_)
                | SnapshotError::InUse { .. }
                | SnapshotError::ForkEnded
                | SnapshotError::Small { .. },
            ) => ErrorKind::Conflict,
            Self::Snapshot(SnapshotError::Name(_)) => ErrorKind::Invalid,
            Self::NameTaken { .. }
            | Self::Running(_)
            | Self::Order { .. }
            | Self::Refused { .. }
            | Self::NotRunning(_)
            | Self::NotSuspended(_)
            | Self::Suspended(_)
            | Self::NotBegun(_)
            | Self::Paused(..)
            | Self::ExecStarted(_)
            | Self::ExecEnded(_)
            | Self::Volume(VolumeError::InUse { .. } | VolumeError::OtherOptions(_))
            | Self::AnotherDaemon(_)
            | Self::Interrupted => ErrorKind::Conflict,
            Self::Process(_)
            | Self::Size(_)
            | Self::DiskSize(_)
            | Self::Name(_)
            | Self::Ambiguous(_)
            | Self::Volume(_)
            | Self::NoSource(_)
            | Self::UnsharedSource(..)
            | Self::ManyMounts { .. }
            | Self::SamePlace(_)
            | Self::NoLog => ErrorKind::Invalid,
            // What docker's client takes for the exit codes 126 and 127.
            Self::Start {
                code: 126 | 127, ..
            } => ErrorKind::Invalid,
            Self::Start { kind, .. } => *kind,
            _ => ErrorKind::Internal,
        }
    }

    pub(crate) fn io(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { verb, path, source }
    }

    /// Whether a machine that is a clone of another template, or of none, might not have failed so.
    pub(crate) fn may_be_the_machine_s(&self) -> bool {
        matches!(
            self,
            Self::MachineEnded(_)
                | Self::Silent { .. }
                | Self::Template(_)
                | Self::Session(SessionError::Lost(_) | SessionError::Violation(_))
        )
    }

    /// What `docker run` would exit with: 125, or 126 and 127 for a command that cannot be run or is
    /// not there.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Session(SessionError::Refused(failure)) => failure.kind.exit_code(),
            Self::Start { code, .. } => *code,
            _ => 125,
        }
    }
}

fn network(error: &crate::network::Error) -> ErrorKind {
    use crate::network::Error;
    match error {
        Error::NotFound(_) => ErrorKind::NotFound,
        Error::NameTaken { .. } | Error::MacTaken(_) => ErrorKind::Conflict,
        Error::InUse { .. } | Error::Overlap { .. } | Error::Privilege(_) => ErrorKind::Forbidden,
        Error::Name(_)
        | Error::Ambiguous(_)
        | Error::Invalid { .. }
        | Error::Address { .. }
        | Error::PublishInternal(_)
        | Error::NoIpv6 => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}

fn last_words(log: &str) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!(" (it said last: {log})")
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (free some space there, or set HULL_ROOT to a larger file system)"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            " (set HULL_ROOT and HULL_RUN to directories that you can write)"
        }
        _ => "",
    }
}

/// An error and its sources in one line.
pub(crate) fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
