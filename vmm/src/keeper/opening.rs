//! Opening what was named: files by path, descriptors that were handed over, devices.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use hull_vm_api::config::HostPath;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::files::{Access, FileError, duplicate};

/// The descriptors that were handed over, by name, and the rights of the process to open.
#[derive(Debug, Default)]
pub struct Opener {
    fds: BTreeMap<String, File>,
}

impl Opener {
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
        // Without waiting for a pipe's other end.
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

    /// Opens a directory to look things up in it, or takes the descriptor that it names.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn directory(&self, what: &'static str, path: &HostPath) -> Result<OwnedFd, FileError> {
        if path.as_fd().is_some() {
            return Ok(self.open(what, path, Access::Read)?.into());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, path.as_path(), flags, Mode::empty());
        opened.map_err(|error| FileError::Open {
            what,
            path: path.clone(),
            source: error.into(),
        })
    }
}

/// Opens KVM.
///
/// # Errors
/// The host's answer.
pub(crate) fn kvm() -> io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open("/dev/kvm")?;
    Ok(file.into())
}
