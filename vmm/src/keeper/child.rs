//! The machine's process: made at the very start, while this one has a single thread, and waited for in the end.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
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
    /// In the machine's process KVM, if it was there to be opened: what every machine needs need not be asked for.
    pub(crate) kvm: Option<OwnedFd>,
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

/// Makes the machine's process, in new namespaces of these kinds and in this control group, which is to have `kvm`. The caller must be the
/// only thread of its process.
///
/// # Errors
/// The host's answer.
pub(crate) fn split(
    namespaces: u64,
    group: Option<BorrowedFd<'_>>,
    kvm: Option<OwnedFd>,
) -> io::Result<Side> {
    let (channel, inner_channel) = UnixStream::pair()?;
    let (asks, inner_asks) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let made = match (fork(namespaces, group), group) {
        // The group cannot be entered so, or the kernel is too old for it.
        (Err(_), Some(_)) => fork(namespaces, None),
        (made, _) => made,
    };
    match made? {
        Some(pid) => Ok(Side::Keeper(
            Child {
                handle: pidfd_open(pid, PidfdFlags::empty())?,
                pid,
                status: None,
            },
            Ends {
                channel: channel.into(),
                asks,
                kvm: None,
            },
        )),
        None => {
            // The keeper's ends are closed with all else.
            std::mem::forget((channel, asks));
            Ok(Side::Machine(Ends {
                channel: inner_channel.into(),
                asks: inner_asks,
                kvm,
            }))
        }
    }
}

/// `CLONE_INTO_CGROUP` of Linux, which libc has as a number that does not fit.
const INTO_GROUP: u64 = 1 << 33;

/// A copy of this process; its id in the original, nothing in the copy.
fn fork(namespaces: u64, group: Option<BorrowedFd<'_>>) -> io::Result<Option<Pid>> {
    // SAFETY: plain data, for which all zeros is a fork without any wish.
    let mut wanted: libc::clone_args = unsafe { std::mem::zeroed() };
    wanted.flags = namespaces;
    wanted.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(group) = group {
        wanted.flags |= INTO_GROUP;
        wanted.cgroup = u64::try_from(group.as_raw_fd()).unwrap_or_default();
    }
    // SAFETY: without CLONE_VM and with no stack of its own the copy goes on here with memory of its own, as after fork(2). There is no
    // other thread that could hold a lock, so everything goes on to work in it.
    let mut result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut wanted, size_of_val(&wanted)) };
    if result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) {
        // Some filters of container engines know only the older call.
        let flags = namespaces | wanted.exit_signal;
        // SAFETY: as above.
        result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    }
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(result).ok().and_then(Pid::from_raw))
}

/// Closes every descriptor but standard input, output, error and these: what this process was copied with is none of its business.
///
/// # Errors
/// The host's answer.
pub(crate) fn close_all_but(ends: &Ends) -> io::Result<()> {
    let mut kept = vec![ends.channel.as_raw_fd(), ends.asks.as_raw_fd()];
    kept.extend(ends.kvm.as_ref().map(AsRawFd::as_raw_fd));
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
