//! How a request or a process ended.

use serde::{Deserialize, Serialize};

/// Why the agent could not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure, for the exit status.
    pub kind: FailureKind,
    /// A sentence for a person, in the words that Docker's users know where there are such.
    pub message: String,
}

impl Failure {
    /// A failure with its message.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// There is no such command, or what its first line names as interpreter is missing.
    NotFound,
    /// The command may not be executed by this user.
    PermissionDenied,
    /// The command is a directory.
    IsDirectory,
    /// The command is no program for this machine.
    NotExecutable,
    /// The image has no such user or group.
    NoSuchUser,
    /// The working directory cannot be made or entered.
    WorkingDirectory,
    /// The container's file systems cannot be put together.
    Mount,
    /// There is no such file or directory in the container.
    NoSuchFile,
    /// The container's root is read-only.
    ReadOnly,
    /// A directory would be replaced by something else, or something else by a directory.
    Overwrite,
    /// What is to be unpacked is no tar archive, or leads out of the directory.
    Archive,
    /// The request contradicts itself or comes at the wrong time.
    Invalid,
    /// The guest's kernel refused something else.
    System,
}

impl FailureKind {
    /// The exit status with which `docker run` ends for this: 125, 126 or 127.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            FailureKind::NotFound => 127,
            FailureKind::PermissionDenied
            | FailureKind::IsDirectory
            | FailureKind::NotExecutable
            | FailureKind::WorkingDirectory => 126,
            FailureKind::NoSuchUser
            | FailureKind::Mount
            | FailureKind::NoSuchFile
            | FailureKind::ReadOnly
            | FailureKind::Overwrite
            | FailureKind::Archive
            | FailureKind::Invalid
            | FailureKind::System => 125,
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It exited with this status.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
}

impl ExitStatus {
    /// As a shell and Docker say it: the status, or 128 and the signal's number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => signal.saturating_add(128),
        }
    }
}
