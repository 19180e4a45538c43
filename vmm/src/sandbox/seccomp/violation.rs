//! What happens when a thread calls what is not on its list: the process says so and ends, by a status of its own.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::mem::offset_of;
use std::ptr;

use hull_vm_api::ExitCause;

use super::Kind;
use crate::last_words::Words;

thread_local! {
    /// Without a destructor, so that the handler may look at any time.
    static THIS: Cell<Option<Kind>> = const { Cell::new(None) };
}

/// The part of `siginfo_t` that a signal of seccomp fills (`asm-generic/siginfo.h`).
#[repr(C)]
struct Info {
    signal: libc::c_int,
    error: libc::c_int,
    code: libc::c_int,
    address: *const libc::c_void,
    call: libc::c_int,
    arch: libc::c_uint,
}

const _: () = assert!(offset_of!(Info, call) == 24);

/// Names of calls that somebody who has broken in would make. Of others there is the number.
const NAMES: [(libc::c_long, &str); 20] = [
    (libc::SYS_open, "open"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_openat2, "openat2"),
    (libc::SYS_execve, "execve"),
    (libc::SYS_execveat, "execveat"),
    (libc::SYS_socket, "socket"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_bind, "bind"),
    (libc::SYS_ptrace, "ptrace"),
    (libc::SYS_process_vm_writev, "process_vm_writev"),
    (libc::SYS_mount, "mount"),
    (libc::SYS_unshare, "unshare"),
    (libc::SYS_setns, "setns"),
    (libc::SYS_clone, "clone"),
    (libc::SYS_fork, "fork"),
    (libc::SYS_kill, "kill"),
    (libc::SYS_mmap, "mmap"),
    (libc::SYS_mprotect, "mprotect"),
    (libc::SYS_ioctl, "ioctl"),
    (libc::SYS_fcntl, "fcntl"),
];

/// Tells of violations in this process from now on ([`crate::last_words`]).
///
/// # Errors
/// The host's answer.
pub(crate) fn watch() -> io::Result<()> {
    // SAFETY: the handler makes only calls that are allowed in one; the structure is plain data for which all zeros is "no
    // flags, empty mask".
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What kind of thread this is.
pub(super) fn this_is(kind: Kind) {
    THIS.set(Some(kind));
}

extern "C" fn handle(_: libc::c_int, info: *const Info, _: *const libc::c_void) {
    // SAFETY: the kernel gives the handler of a signal with SA_SIGINFO such a structure, and this signal fills these fields.
    let call = unsafe { (*info).call };
    let mut words = Words::default();
    let known = NAMES
        .iter()
        .find(|(number, _)| *number == libc::c_long::from(call));
    words.push("system call ");
    words.push_number(call);
    if let Some((_, name)) = known {
        words.push(" (");
        words.push(name);
        words.push(")");
    }
    words.push(" in ");
    words.push(THIS.get().map_or("a thread", Kind::name));
    words.end(
        ExitCause::Violation,
        "stopped at something that its sandbox forbids: ",
    );
}
