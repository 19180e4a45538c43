//! Signals as events: blocked for all threads, read from a descriptor by the event loop.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::ptr;

/// What a signal asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGTERM: an orderly end; at once when it comes a second time.
    Terminate,
    /// SIGINT, SIGHUP, SIGQUIT: an end at once.
    Interrupt,
}

const SIGNALS: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// The descriptor from which signals are read.
#[derive(Debug)]
pub(crate) struct Signals(File);

impl Signals {
    /// Blocks the signals and collects them instead. Call this before there are other threads.
    ///
    /// # Errors
    /// What the host answered.
    pub(crate) fn collect() -> io::Result<Self> {
        // SAFETY: plain data, initialised by sigemptyset below.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` lives through the calls, which only read and write it.
        unsafe {
            libc::sigemptyset(&raw mut set);
            for signal in SIGNALS {
                libc::sigaddset(&raw mut set, signal);
            }
        }
        // SAFETY: the set is initialised, and the old mask is not wanted.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        // SAFETY: the set is initialised.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// The next signal, if one came.
    pub(crate) fn next(&mut self) -> Option<Request> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        // The number of the signal is the first field, 32 bits wide; a read gives a whole structure or nothing.
        self.0.read_exact(&mut info).ok()?;
        let (number, _) = info.split_first_chunk()?;
        match i32::from_ne_bytes(*number) {
            libc::SIGTERM => Some(Request::Terminate),
            _ => Some(Request::Interrupt),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
