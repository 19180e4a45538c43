//! `clone3(2)` in its two uses: a child that borrows the agent's memory until it executes a
//! program, and one that gets a copy.

#![allow(unsafe_code)]

use std::arch::asm;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// `struct clone_args` of `linux/sched.h`, up to its third version.
#[derive(Debug, Default)]
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// What the child shares with the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The child runs in the agent's memory, and the agent waits until it executes a program or
    /// ends. No page is copied: with a copy, each page that either touches is a fault.
    Borrowed,
    /// The child gets a copy and lives on.
    Copied,
}

/// How to make a child.
#[derive(Debug)]
pub(crate) struct Clone<'a> {
    pub(crate) memory: Memory,
    /// `CLONE_NEW...` flags.
    pub(crate) namespaces: u64,
    /// The control group of the child; the agent's own when `None`.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
}

/// `libc` has it as a number of another type.
const SYS_CLONE3: isize = 435;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Runs `child(data)` in a child process and returns its id. What `child` returns is its exit status.
pub(crate) fn spawn<T>(how: &Clone<'_>, child: fn(&T) -> i32, data: &T) -> Result<Pid, Errno> {
    let sharing = match how.memory {
        Memory::Borrowed => libc::CLONE_VM | libc::CLONE_VFORK,
        Memory::Copied => 0,
    };
    let mut args = CloneArgs {
        flags: u64::from(sharing.cast_unsigned()) | how.namespaces,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        ..CloneArgs::default()
    };
    if let Some(cgroup) = how.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let entry = Entry { child, data };
    // SAFETY: `args` is a valid `clone_args`. The child calls `enter::<T>`, which never returns, with
    // a pointer to `entry`, which outlives it: either the agent is suspended for as long as the
    // child uses this memory (CLONE_VFORK), or the child has a copy of it. The child uses the stack
    // below this frame; the block is not `nostack`, so nothing of the agent lives there.
    let result = unsafe { clone3(&args, enter::<T>, (&raw const entry).cast()) };
    match i32::try_from(result) {
        Ok(pid) if pid > 0 => Pid::from_raw(pid).ok_or(Errno::INVAL),
        Ok(error) => Err(Errno::from_raw_os_error(-error)),
        Err(_) => Err(Errno::INVAL),
    }
}

struct Entry<'a, T> {
    child: fn(&T) -> i32,
    data: &'a T,
}

unsafe extern "C" fn enter<T>(entry: *const libc::c_void) -> ! {
    // SAFETY: `spawn` passes a pointer to an `Entry<T>` that outlives the child's use of it.
    let entry = unsafe { &*entry.cast::<Entry<'_, T>>() };
    let status = (entry.child)(entry.data);
    // SAFETY: ends this process only; no destructor or exit handler of the agent runs.
    unsafe { libc::_exit(status) }
}

unsafe fn clone3(
    args: &CloneArgs,
    enter: unsafe extern "C" fn(*const libc::c_void) -> !,
    entry: *const libc::c_void,
) -> isize {
    let result: isize;
    // SAFETY: promised by the caller; the child's half never leaves the block.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {entry}",
            "call {enter}",
            "ud2",
            "2:",
            entry = in(reg) entry,
            enter = in(reg) enter,
            inout("rax") SYS_CLONE3 => result,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}
