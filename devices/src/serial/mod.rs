//! A 16550 serial port, for the messages of a kernel that has no other console yet.
//!
//! The registers are rust-vmm's; this gives them sizes that can't be wrong, an interrupt, and output by lines instead of a
//! system call per byte. Output must not wait: what the reader does not take at once is dropped.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};

use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, Serial};
use vmm_sys_util::eventfd::EventFd;

/// How many ports it has on the bus.
pub const SERIAL_SIZE: u64 = 8;
/// Bytes that wait for the end of their line.
const LINE: usize = 256;

#[derive(Debug)]
struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// Collects a line and writes it at once.
struct Lines {
    out: Box<dyn Write + Send>,
    line: Vec<u8>,
}

impl Lines {
    fn send(&mut self) {
        // A reader that is gone or slow must not hold up the guest.
        let _ = self
            .out
            .write_all(&self.line)
            .and_then(|()| self.out.flush());
        self.line.clear();
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' || self.line.len() == LINE {
                self.send();
            }
        }
        Ok(bytes.len())
    }

    /// The register file flushes after each byte, which would undo the collecting.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.send();
    }
}

/// A serial port on the I/O bus.
pub struct SerialPort {
    serial: Serial<Line, NoEvents, Lines>,
}

impl SerialPort {
    /// A port that interrupts by an eventfd and writes to `out`, which should not block.
    #[must_use]
    pub fn new(interrupt: EventFd, out: Box<dyn Write + Send>) -> Self {
        let lines = Lines {
            out,
            line: Vec::new(),
        };
        Self {
            serial: Serial::new(Line(interrupt), lines),
        }
    }

    /// A vCPU reads. Registers are bytes; of a wider access the first byte is one, and the rest is 0xff, as on a bus where
    /// nobody answers.
    pub fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let (Some(register), Some(byte)) = (register(offset), data.first_mut()) {
            *byte = self.serial.read(register);
        }
    }

    /// A vCPU writes. Of a wider access only the first byte counts.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        if let (Some(register), Some(byte)) = (register(offset), data.first())
            && let Err(error) = self.serial.write(register, *byte)
        {
            tracing::debug!(?error, "a write to the serial port failed");
        }
    }

    /// Writes what waits for the end of its line.
    pub fn flush(&mut self) {
        self.serial.writer_mut().send();
    }
}

impl fmt::Debug for SerialPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialPort").finish_non_exhaustive()
    }
}

fn register(offset: u64) -> Option<u8> {
    u8::try_from(offset).ok().filter(|offset| *offset < 8)
}
