//! What a process says in a handler of a signal before it ends: without the heap, and with no call that such a handler may not make.

#![allow(unsafe_code)]

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use hull_vm_api::ExitCause;

/// Where they go; standard error if there is no such descriptor.
static LAST_WORDS: AtomicI32 = AtomicI32::new(-1);
/// The most that is said, in bytes.
const LONGEST: usize = 192;
/// What a sentence at standard error begins with.
const PROGRAM: &[u8] = b"hull-vmm: ";

/// They go to this socket, whose packets arrive whole, or to standard error.
pub(crate) fn send_to(socket: Option<RawFd>) {
    LAST_WORDS.store(socket.unwrap_or(-1), Ordering::Relaxed);
}

/// A text that is made without memory of the heap.
pub(crate) struct Words {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            bytes: [0; LONGEST],
            length: 0,
        }
    }
}

impl Words {
    pub(crate) fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            self.push_byte(byte);
        }
    }

    /// What does not fit is left out.
    pub(crate) fn push_byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    pub(crate) fn push_number(&mut self, number: libc::c_int) {
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

    /// Says them, and ends the process with this cause.
    pub(crate) fn end(mut self, cause: ExitCause, why: &str) -> ! {
        let to = LAST_WORDS.load(Ordering::Relaxed);
        if to < 0 {
            self.push("\n");
        }
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: the bytes live through the calls. All of these calls, and ending, are allowed in a handler.
        unsafe {
            if to < 0 {
                libc::write(2, PROGRAM.as_ptr().cast(), PROGRAM.len());
                libc::write(2, why.as_ptr().cast(), why.len());
                libc::write(2, self.bytes.as_ptr().cast(), self.length);
            } else {
                libc::send(to, self.bytes.as_ptr().cast(), self.length, flags);
            }
            libc::_exit(cause.code().into());
        }
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
