//! The machine's process: made at the very start, while this one has a single thread, and waited for in the end.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, waitpid,
};

/// What connects the two processes.
#[derive(Debug)]
pub(crate) struct Ends {
    /// Orders one way, reports the other.
    pub(crate) channel: OwnedFd,
    /// Questions one way, descriptors the other.
    pub(crate) asks: OwnedFd,
}

/// Which of the two processes this is now.
#[derive(Debug)]
pub(crate) enum Side {
    /// The one that was started.
    Keeper(Child, Ends),
    /// The one that has the machine.
    Machine(Ends),
}

/// The machine's process. It is killed and waited for when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    handle: OwnedFd,
    status: Option<WaitStatus>,
}

/// Makes the machine's process, in new namespaces of these kinds. The caller must be the only thread of its process.
///
/// # Errors
/// The host's answer.
pub(crate) fn split(namespaces: libc::c_int) -> io::Result<Side> {
    let (channel, inner_channel) = UnixStream::pair()?;
    let (asks, inner_asks) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    match fork(namespaces)? {
        Some(pid) => Ok(Side::Keeper(
            Child {
                handle: pidfd_open(pid, PidfdFlags::empty())?,
                pid,
                status: None,
            },
            Ends {
                channel: channel.into(),
                asks,
            },
        )),
        None => {
            let ends = Ends {
                channel: inner_channel.into(),
                asks: inner_asks,
            };
            // What this process was copied with is none of its business.
            let kept = [ends.channel.as_raw_fd(), ends.asks.as_raw_fd()];
            std::mem::forget((channel, asks));
            close_all_but(kept)?;
            Ok(Side::Machine(ends))
        }
    }
}

/// A copy of this process; its id in the original, nothing in the copy.
fn fork(namespaces: libc::c_int) -> io::Result<Option<Pid>> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack of its own the copy goes on here with memory of its own, as after fork(2). There is no
    // other thread that could hold a lock, so everything goes on to work in it.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(result).ok().and_then(Pid::from_raw))
}

/// Closes every descriptor but standard input, output, error and these.
fn close_all_but(mut kept: [RawFd; 2]) -> io::Result<()> {
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().chain([RawFd::MAX]) {
        if first < fd {
            let (from, to) = (first.cast_unsigned(), (fd - 1).cast_unsigned());
            // SAFETY: nothing that owns one of them is used or dropped in this process.
            let result = unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
            if result < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

impl Child {
    /// Ends it at once.
    pub(crate) fn kill(&self) {
        // It fails only when it has ended.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }

    /// Waits for its end for so long; then kills it.
    pub(crate) fn end(&mut self, patience: Duration) -> Option<WaitStatus> {
        if self.status.is_none() {
            if !self.ends_within(patience) {
                self.kill();
            }
            self.status = waitpid(Some(self.pid), WaitOptions::empty())
                .ok()
                .flatten()
                .map(|(_, status)| status);
        }
        self.status
    }

    fn ends_within(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let time = Timespec::try_from(rest).unwrap_or_default();
            match poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&time)) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(_) if rest.is_zero() => return false,
                Err(_) => {}
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Has this process die when the thread that made it does. Changes of the user take that back, so it comes behind them.
///
/// # Errors
/// The host's answer.
pub(crate) fn die_with_parent() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Puts nothing in the place of standard input.
///
/// # Errors
/// If there is no `/dev/null`.
pub(crate) fn close_input() -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(())
}
