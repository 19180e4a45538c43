//! Finding files: by name, and again when their descriptors were closed. Here the host is asked, with nothing locked.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::host::{self, Stat};
use super::nodes::Held;
use super::server::{Result, Shared};

impl Shared {
    /// A node's descriptor; it is found again if it was closed.
    pub(super) fn node_fd(&self, id: u64) -> Result<Arc<OwnedFd>> {
        let held = self.nodes().held(id)?;
        let way = match held {
            Held::Open(fd) => return Ok(fd),
            Held::Closed(way) => way,
        };
        let fd = way.walk()?;
        let stat = host::stat(fd.as_fd())?;
        self.nodes().found(id, fd, &stat)
    }

    /// Finds `name` in a directory and counts that the guest knows it. The ID, and what it is like.
    pub(super) fn look_up(&self, parent: u64, name: &CStr) -> Result<(u64, Stat)> {
        let directory = self.node_fd(parent)?;
        let fd = self.open_with(|| host::open_path(directory.as_fd(), name))?;
        let stat = host::stat(fd.as_fd())?;
        let id = self.nodes().adopt(fd, &stat, Some((parent, name)))?;
        Ok((id, stat))
    }

    /// The guest moved something to here: a node that is it has a new place.
    pub(super) fn note_place(&self, parent: u64, name: &CStr) {
        let found = self.node_fd(parent).and_then(|directory| {
            let fd = self.open_with(|| host::open_path(directory.as_fd(), name))?;
            host::stat(fd.as_fd())
        });
        if let Ok(stat) = found {
            self.nodes().seen(parent, name, &stat);
        }
    }

    /// Makes a system call that opens something; if there are no more descriptors, once more with one of ours closed.
    pub(super) fn open_with(&self, call: impl Fn() -> Result<OwnedFd>) -> Result<OwnedFd> {
        match call() {
            Err(Errno::MFILE | Errno::NFILE) if self.nodes().close_one() => call(),
            result => result,
        }
    }
}
