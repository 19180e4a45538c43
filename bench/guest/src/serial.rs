//! The first serial port: bytes out, never waited for.

use core::arch::asm;

const COM1: u16 = 0x3f8;

/// Says it.
pub fn say(text: &str) {
    for byte in text.bytes() {
        // SAFETY: the entry code gave user mode the right to use I/O ports, and a byte for a serial port changes no memory.
        unsafe { asm!("out dx, al", in("dx") COM1, in("al") byte, options(nomem, nostack)) };
    }
}
