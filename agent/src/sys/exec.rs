//! `execve(2)`, and its lists of strings.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use rustix::io::Errno;

/// A list of strings as `execve` takes it.
#[derive(Debug)]
pub(crate) struct Strings {
    /// Points into `_owners`, and ends with null.
    pointers: Vec<*const c_char>,
    _owners: Vec<CString>,
}

impl Strings {
    pub(crate) fn new(owners: Vec<CString>) -> Self {
        let pointers = owners
            .iter()
            .map(|s| s.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self {
            pointers,
            _owners: owners,
        }
    }
}

/// Replaces this process by `program`; returns only if that fails.
pub(crate) fn execve(program: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
    // SAFETY: all three are alive, the lists end with null, and each string ends with a zero byte.
    unsafe {
        let (arguments, environment) = (arguments.pointers.as_ptr(), environment.pointers.as_ptr());
        libc::execve(program.as_ptr(), arguments, environment);
    }
    last_error()
}

/// Enters a new namespace of control groups, rooted at the caller's group.
pub(crate) fn unshare_cgroup() -> Result<(), Errno> {
    // SAFETY: changes what this process sees of control groups, nothing in memory.
    match unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) {
    // SAFETY: the callers (the container's init, and the agent's own processes) run in their own copy of
    // the agent and use none of the descriptors again, nor run the destructors of their owners.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

pub(crate) fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
