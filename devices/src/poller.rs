//! An epoll set of a device's own: the one descriptor that the event loop waits for, and what it stands for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Descriptors that wake a device.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
        })
    }

    /// What [`crate::VirtioDevice::poll_fd`] gives.
    pub(crate) fn fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Wakes the device whenever `fd` is readable.
    pub(crate) fn add(&self, fd: impl AsFd) -> io::Result<()> {
        self.watch(fd, EventFlags::IN)
    }

    /// Wakes the device each time that `fd` becomes readable; it need not be read.
    pub(crate) fn add_edge(&self, fd: impl AsFd) -> io::Result<()> {
        self.watch(fd, EventFlags::IN | EventFlags::ET)
    }

    fn watch(&self, fd: impl AsFd, flags: EventFlags) -> io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(0), flags)?;
        Ok(())
    }

    /// Takes the edges that are there. Which descriptor it is about does not matter: a device looks at all it has.
    pub(crate) fn drain(&self) {
        let none = epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [none; 8];
        // An interrupted wait comes again, for the set stays readable.
        let _ = epoll::wait(&self.epoll, &mut events[..], Some(&Timespec::default()));
    }
}
