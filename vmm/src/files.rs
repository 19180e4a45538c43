//! Everything of the host that a configuration names: files by path, and descriptors that were handed over (`fd:NAME`).

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use hull_vm_api::config::HostPath;

/// Why something that was named is not there.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The host's answer to opening it.
    #[error("cannot open {path} ({what})")]
    Open {
        /// What it is for.
        what: &'static str,
        /// As configured.
        path: HostPath,
        /// The host's answer.
        source: io::Error,
    },
    /// A directory where a file must be.
    #[error("{path} ({what}) is a directory; name a file")]
    Directory {
        /// What it is for.
        what: &'static str,
        /// As configured.
        path: HostPath,
    },
    /// `fd:NAME` of a name that was not handed over.
    #[error(
        "{what} is fd:{name}, but no descriptor of that name was handed over; start with --fd {name}=NUMBER"
    )]
    UnknownFd {
        /// What it is for.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name that was handed over twice.
    #[error("--fd {0} is given twice; each name stands for one descriptor")]
    TwoFds(String),
    /// A number that is no open descriptor.
    #[error("the descriptor {number} ({name}) was to be handed over, but it is not open")]
    ClosedFd {
        /// What for.
        name: String,
        /// Its number.
        number: RawFd,
    },
}

/// How a file is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Must exist.
    Read,
    /// Must exist.
    ReadWrite,
    /// Is made if missing; what is written goes behind what is there.
    Append,
}

/// The descriptors that were handed over, by name.
#[derive(Debug, Default)]
pub struct Files {
    fds: BTreeMap<String, File>,
}

impl Files {
    /// Takes what was handed over. The numbers themselves stay open; copies of them are used, which no child inherits.
    ///
    /// # Errors
    /// The first number that is not open, or name that is there twice.
    pub fn new(numbers: &[(String, RawFd)]) -> Result<Self, FileError> {
        let mut fds = BTreeMap::new();
        for (name, number) in numbers {
            let Ok(file) = duplicate(*number) else {
                return Err(FileError::ClosedFd {
                    name: name.clone(),
                    number: *number,
                });
            };
            if fds.insert(name.clone(), file).is_some() {
                return Err(FileError::TwoFds(name.clone()));
            }
        }
        Ok(Self { fds })
    }

    /// Opens a path, or takes the descriptor that it names.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn open(
        &self,
        what: &'static str,
        path: &HostPath,
        access: Access,
    ) -> Result<File, FileError> {
        let fail = |source| FileError::Open {
            what,
            path: path.clone(),
            source,
        };
        if let Some(name) = path.as_fd() {
            let file = self.fds.get(name).ok_or_else(|| FileError::UnknownFd {
                what,
                name: name.to_owned(),
            })?;
            return file.try_clone().map_err(fail);
        }
        let mut options = OpenOptions::new();
        match access {
            Access::Read => options.read(true),
            Access::ReadWrite => options.read(true).write(true),
            Access::Append => options.append(true).create(true),
        };
        // Without waiting for a pipe's other end. The process's mask may be that of a share's server, which has none.
        options.custom_flags(libc::O_NONBLOCK).mode(0o644);
        let file = match options.open(path.as_path()) {
            // A pipe that nobody reads yet can be opened for both ways.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                options.read(true).open(path.as_path())
            }
            result => result,
        };
        let file = file.map_err(fail)?;
        if file.metadata().map_err(fail)?.is_dir() {
            return Err(FileError::Directory {
                what,
                path: path.clone(),
            });
        }
        Ok(file)
    }
}

/// A copy of a descriptor that somebody else opened and named by its number.
///
/// # Errors
/// If there is no such descriptor.
#[allow(unsafe_code)]
pub fn duplicate(number: RawFd) -> io::Result<File> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the descriptor is borrowed for the call below only, which answers EBADF if nothing is open there; nothing
    // is read, written or closed through it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(borrowed.try_clone_to_owned()?.into())
}
