//! A copy of this process (`fork(2)`), which has the guest's memory as it was at one moment and writes it while the guest goes on.
//!
//! It shares the table of descriptors with the original (`CLONE_FILES`): a descriptor that is closed there is closed, while a copy of the
//! table would keep connections, locks and interests of epoll until the last page is written. What it does must take no lock, which may be held by
//! a thread that there is none of in the copy, and so must not allocate; so it is not libc's fork(3), which would prepare
//! for more than that. It dies with the thread that made it, and sees no signal that it could handle.

#![allow(unsafe_code)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, set_parent_process_death_signal, waitpid,
};

/// What it ends with if all went well; what errors are added to otherwise, far from statuses of other ends.
const DONE: i32 = 0;
const ERRORS: i32 = 64;

/// Why a copy did not do what it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The host refused something.
    Host(Errno),
    /// It was killed.
    Killed(i32),
    /// It ended otherwise.
    Ended,
}

/// A copy that is at work.
#[derive(Debug)]
pub(super) struct Copy(Pid);

impl Copy {
    /// Makes a copy that does this, and ends.
    ///
    /// # Errors
    /// If the host makes none.
    pub(super) fn make(act: impl FnOnce() -> Result<(), Errno>) -> io::Result<Self> {
        let before = block_signals()?;
        let original = getpid();
        let flags = libc::CLONE_FILES | libc::SIGCHLD;
        // SAFETY: without CLONE_VM and with no stack of its own the copy goes on here with memory of its own, as after fork(2). What it does
        // below takes no lock, and nothing is dropped.
        let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        if result == 0 {
            let status = work(original, act);
            // SAFETY: it ends the process, and runs nothing before.
            unsafe { libc::_exit(status) };
        }
        let made = match result {
            ..0 => Err(io::Error::last_os_error()),
            pid => Ok(i32::try_from(pid).ok().and_then(Pid::from_raw)),
        };
        set_signals(&before);
        made?.map(Self).ok_or_else(|| Errno::SRCH.into())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) fn wait(self) -> Result<(), Failure> {
        let status = loop {
            match waitpid(Some(self.0), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                Ok(Some((_, status))) => break status,
                Ok(None) => return Err(Failure::Ended),
                Err(errno) => return Err(Failure::Host(errno)),
            }
        };
        told(status)
    }
}

fn told(status: WaitStatus) -> Result<(), Failure> {
    if let Some(signal) = status.terminating_signal() {
        return Err(Failure::Killed(signal));
    }
    match status.exit_status() {
        Some(DONE) => Ok(()),
        Some(status @ ERRORS..) => Err(Failure::Host(Errno::from_raw_os_error(status - ERRORS))),
        _ => Err(Failure::Ended),
    }
}

/// In the copy: its status.
fn work(original: Pid, act: impl FnOnce() -> Result<(), Errno>) -> i32 {
    let act = || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may be gone already. The first process of a namespace would have taken this one along.
        match getppid() == Some(original) {
            true => act(),
            false => Err(Errno::SRCH),
        }
    };
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(())) => DONE,
        Ok(Err(errno)) => ERRORS + errno.raw_os_error(),
        Err(_) => ERRORS - 1,
    }
}

/// Blocks all signals, so that none is handled in the copy: what it causes itself (SIGBUS, SIGSYS) ends it.
fn block_signals() -> io::Result<libc::sigset_t> {
    // SAFETY: plain data, initialised by sigfillset below.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: plain data, which the call below fills.
    let mut before: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both live through the calls.
    let result = unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before)
    };
    match result {
        0 => Ok(before),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn set_signals(set: &libc::sigset_t) {
    // SAFETY: the set lives through the call, which only reads it, and has nothing to refuse.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::io::pwrite;

    use super::*;

    #[test]
    fn a_copy_has_memory_as_it_was_and_the_same_descriptors() {
        let file = tempfile::tempfile().unwrap();
        let mut bytes = vec![1; 4096];
        let (ready, go) = rustix::pipe::pipe().unwrap();
        let copy = Copy::make(|| {
            // Until the original has written something else.
            rustix::io::read(&ready, &mut [0; 1])?;
            pwrite(&file, &bytes, 0).map(drop)
        });
        bytes.fill(2);
        rustix::io::write(&go, &[0]).unwrap();
        copy.unwrap().wait().unwrap();
        let mut seen = vec![0; 4096];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut seen, 0).unwrap();
        assert_eq!(seen, vec![1; 4096]);
        assert_eq!(bytes, vec![2; 4096]);
    }

    #[test]
    fn how_it_ends_is_told() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let wait = |act: &dyn Fn() -> Result<(), Errno>| Copy::make(act).unwrap().wait();
        let refused = wait(&|| rustix::io::write(&full, b"x").map(drop));
        assert_eq!(refused, Err(Failure::Host(Errno::NOSPC)));
        let killed = wait(&|| rustix::process::kill_process(getpid(), Signal::KILL));
        assert_eq!(killed, Err(Failure::Killed(libc::SIGKILL)));
    }
}
