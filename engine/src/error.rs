//! Everything that can go wrong with a container, with the exit code that Docker's clients know.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::container::{ContainerId, InvalidName};
use crate::disk::{DiskError, InvalidDisk};
use crate::programs::MissingProgram;
use crate::session::SessionError;
use crate::snapshot::SnapshotError;
use crate::spec::{InvalidProcess, InvalidSize};
use crate::vm::MachineError;

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
    /// A machine that was saved for others to start from does not go on.
    #[error("the microVM cannot go on after a template was made of it")]
    Template(#[source] Box<dyn std::error::Error + Send + Sync>),
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

impl Error {
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
            _ => 125,
        }
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
