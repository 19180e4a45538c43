//! The host's ends of a console, which may be terminals, pipes, sockets or files, blocking or not.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::config::ConsoleBackend;
use crate::iov::{Scatter, Span};

/// The most that is written or read at once: as much as fits a pipe that has room at all.
const CHUNK: u64 = 4096;

/// What a stream could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    Bytes(u64),
    /// Nothing for now; the epoll set will tell.
    NotNow,
    /// Nothing any more.
    Ended,
}

/// Both ends, and the epoll set that tells when they can go on.
#[derive(Debug)]
pub(super) struct Streams {
    epoll: OwnedFd,
    output: OwnedFd,
    input: Option<OwnedFd>,
    scatter: Scatter,
}

impl Streams {
    pub(super) fn new(backend: ConsoleBackend) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        watch(&epoll, &backend.output, EventFlags::OUT)?;
        if let Some(input) = &backend.input {
            watch(&epoll, input, EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            output: backend.output,
            input: backend.input,
            scatter: Scatter::default(),
        })
    }

    pub(super) fn poll_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Takes what the epoll set has to tell. Which end it is about does not matter: both are tried.
    pub(super) fn drain_events(&self) {
        let none = epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [none; 2];
        // An interrupted wait comes again, for the set stays readable.
        let _ = epoll::wait(&self.epoll, &mut events[..], Some(&Timespec::default()));
    }

    /// Writes the beginning of a span.
    pub(super) fn write(&mut self, span: Span<'_>) -> io::Result<Moved> {
        if !is_ready(&self.output, PollFlags::OUT) {
            return Ok(Moved::NotNow);
        }
        let result = self.scatter.write(span.part(0, CHUNK), self.output.as_fd());
        moved(result)
    }

    /// Fills the beginning of a span.
    pub(super) fn read(&mut self, span: Span<'_>) -> io::Result<Moved> {
        let Some(input) = &self.input else {
            return Ok(Moved::Ended);
        };
        if !is_ready(input, PollFlags::IN) {
            return Ok(Moved::NotNow);
        }
        let result = moved(self.scatter.read(span.part(0, CHUNK), input.as_fd()));
        // The guest's bad buffer is no reason to lose the input; an end or an error of its own is.
        let goes_on = match &result {
            Ok(moved) => *moved != Moved::Ended,
            Err(error) => error.kind() == io::ErrorKind::InvalidInput,
        };
        if !goes_on {
            self.input = None;
        }
        result
    }

    /// Writes one byte if it can be done at once.
    pub(super) fn write_byte(&self, byte: u8) {
        if is_ready(&self.output, PollFlags::OUT) {
            let _ = rustix::io::write(&self.output, &[byte]);
        }
    }
}

fn moved(result: io::Result<usize>) -> io::Result<Moved> {
    match result {
        Ok(0) => Ok(Moved::Ended),
        Ok(count) => Ok(Moved::Bytes(u64::try_from(count).unwrap_or(0))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Moved::NotNow),
        Err(error) => Err(error),
    }
}

/// Edge-triggered: the events are only hints to try again, and need no re-arming.
fn watch(epoll: &OwnedFd, fd: &OwnedFd, flags: EventFlags) -> io::Result<()> {
    match epoll::add(epoll, fd, EventData::new_u64(0), flags | EventFlags::ET) {
        // Files can't be waited for, and need not be.
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether an operation will not wait; a stream in error is ready to say so.
fn is_ready(fd: &OwnedFd, flags: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, flags)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
}
