//! What happens when a thread calls what is not on its list: the process says so and ends, by a status of its own.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::mem::offset_of;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use hull_vm_api::ExitCause;

use super::Kind;

/// Where the last words go; standard error if there is no such descriptor.
static LAST_WORDS: AtomicI32 = AtomicI32::new(-1);

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

/// Tells of violations in this process from now on; `to` is a socket whose packets arrive whole, or none.
///
/// # Errors
/// The host's answer.
pub(crate) fn watch(to: Option<RawFd>) -> io::Result<()> {
    LAST_WORDS.store(to.unwrap_or(-1), Ordering::Relaxed);
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
    let to = LAST_WORDS.load(Ordering::Relaxed);
    if to < 0 {
        words.push("\n");
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the bytes live through the calls. Both calls, and ending, are allowed in a handler.
    unsafe {
        if to < 0 {
            let start = b"hull-vmm: stopped at something that its sandbox forbids: ";
            libc::write(2, start.as_ptr().cast(), start.len());
            libc::write(2, words.bytes.as_ptr().cast(), words.length);
        } else {
            libc::send(to, words.bytes.as_ptr().cast(), words.length, flags);
        }
        libc::_exit(ExitCause::Violation.code().into());
    }
}

/// A text that is made without memory of the heap.
struct Words {
    bytes: [u8; 128],
    length: usize,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            bytes: [0; 128],
            length: 0,
        }
    }
}

impl Words {
    fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
    }

    fn push_number(&mut self, number: libc::c_int) {
        let mut digits = [0; 10];
        let mut rest = number.unsigned_abs();
        let mut first = digits.len();
        loop {
            first -= 1;
            if let Some(digit) = digits.get_mut(first) {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            }
            rest /= 10;
            if rest == 0 || first == 0 {
                break;
            }
        }
        let digits = digits.get(first..).unwrap_or_default();
        self.push(std::str::from_utf8(digits).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_help() {
        for number in [0, 7, 257, i32::MAX] {
            let mut words = Words::default();
            words.push_number(number);
            assert_eq!(&words.bytes[..words.length], number.to_string().as_bytes());
        }
    }
}
