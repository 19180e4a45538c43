//! The epoll set of an interface: its TAP descriptors and timers, all edge-triggered.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Events taken at a time.
const EVENTS: usize = 32;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Something changed at the TAP of a pair.
    Tap(usize),
    /// Time has come for a limit, or it was changed.
    Limit,
    /// Time has come for the metadata service.
    Mmds,
}

const LIMIT: u64 = u64::MAX;
const MMDS: u64 = u64::MAX - 1;

#[derive(Debug)]
pub(super) struct EventQueue(OwnedFd);

impl EventQueue {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>, event: Event) -> io::Result<()> {
        Ok(epoll::add(
            &self.0,
            fd,
            EventData::new_u64(number(event)),
            flags(),
        )?)
    }

    /// Looks again whether a descriptor is ready, and says so if it is. A TAP that was full does not by itself tell when it
    /// has room; being asked makes it do so.
    pub(super) fn ask_again(&self, fd: BorrowedFd<'_>, event: Event) -> io::Result<()> {
        let data = EventData::new_u64(number(event));
        Ok(epoll::modify(&self.0, fd, data, flags())?)
    }

    pub(super) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, fd)?)
    }

    /// Takes some events; if there are more, the set says so again.
    pub(super) fn take(&self) -> impl Iterator<Item = Event> + use<> {
        let none = epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [none; EVENTS];
        // An interrupted wait comes again, for the set stays readable.
        let count = epoll::wait(&self.0, &mut events[..], Some(&Timespec::default())).unwrap_or(0);
        events
            .into_iter()
            .take(count)
            .map(|event| match event.data.u64() {
                LIMIT => Event::Limit,
                MMDS => Event::Mmds,
                pair => Event::Tap(usize::try_from(pair).unwrap_or(usize::MAX)),
            })
    }
}

fn flags() -> EventFlags {
    EventFlags::IN | EventFlags::OUT | EventFlags::ET
}

fn number(event: Event) -> u64 {
    match event {
        Event::Tap(pair) => u64::try_from(pair).unwrap_or(0),
        Event::Limit => LIMIT,
        Event::Mmds => MMDS,
    }
}
