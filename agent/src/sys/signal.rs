//! Signals: the agent takes its own from a descriptor, and sends others.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::exec::last_error;

/// Blocks every signal in this process, so that none interrupts a call or ends the agent.
pub(crate) fn block_all() {
    set_mask(true);
}

/// Blocks none, as a new program expects it.
pub(crate) fn unblock_all() {
    set_mask(false);
}

fn set_mask(full: bool) {
    // SAFETY: the set is filled or emptied before it is used.
    unsafe {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        if full {
            libc::sigfillset(set.as_mut_ptr());
        } else {
            libc::sigemptyset(set.as_mut_ptr());
        }
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// A descriptor that is readable when a child has ended or the agent is asked to end.
pub(crate) fn descriptor() -> Result<OwnedFd, Errno> {
    // SAFETY: the set is emptied before it is used; a non-negative result is a new descriptor.
    unsafe {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGCHLD, libc::SIGINT, libc::SIGTERM] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        match libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(last_error()),
        }
    }
}

/// One read of [`descriptor`] gives records of this many bytes; the first four are the number.
pub(crate) const RECORD: usize = size_of::<libc::signalfd_siginfo>();

/// Waits for any signal and returns its number.
pub(crate) fn wait_any() -> i32 {
    let mut signal = 0;
    // SAFETY: the set is filled before it is used, and `signal` is writable.
    unsafe {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(set.as_mut_ptr());
        libc::sigwait(set.as_ptr(), &raw mut signal);
    }
    signal
}

/// Sends signal `number` to `pid`, a child that was not reaped yet.
pub(crate) fn send(pid: Pid, number: u8) -> Result<(), Errno> {
    // SAFETY: touches no memory of this process.
    match unsafe { libc::kill(pid.as_raw_nonzero().get(), number.into()) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}
