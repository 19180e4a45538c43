//! A 16550 serial port, for the messages of a kernel that has no other console yet, and for a terminal on it.
//!
//! The registers are rust-vmm's; this gives them sizes that can't be wrong, an interrupt, input, and output by lines instead of
//! a system call per byte. Output must not wait: what does not go out at once is dropped, and counted.

mod counters;
mod lines;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use vm_superio::Trigger;
use vm_superio::serial::{Serial, SerialEvents};
use vmm_sys_util::eventfd::EventFd;

use crate::rate::RateConfig;
pub use counters::SerialCounters;
use lines::Lines;
pub use state::{SerialRestoreError, SerialState};

/// Registers: data, interrupt enable and line status.
const DATA: u8 = 0;
const INTERRUPT_ENABLE: u8 = 1;
const LINE_STATUS: u8 = 5;

#[derive(Debug)]
struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// Tells whoever has input that the guest took all of what it had.
struct Room(Option<EventFd>);

impl SerialEvents for Room {
    fn buffer_read(&self) {}

    fn out_byte(&self) {}

    fn tx_lost_byte(&self) {}

    fn in_buffer_empty(&self) {
        if let Some(event) = &self.0 {
            // It cannot fail: the counter is far from full.
            let _ = event.write(1);
        }
    }
}

/// The host's side of a port.
pub struct SerialBackend {
    /// Takes the bytes at once, or answers that it would have to wait (`ErrorKind::WouldBlock`).
    pub out: Box<dyn Write + Send>,
    /// Becomes readable when there is room for input; of use only with input.
    pub room: Option<EventFd>,
    /// Bytes beyond this rate are dropped. Operations do not count.
    pub rate: RateConfig,
    /// Where bytes are counted.
    pub counters: Arc<SerialCounters>,
}

impl fmt::Debug for SerialBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialBackend")
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

/// A serial port on the I/O bus.
pub struct SerialPort {
    serial: Serial<Line, Room, Lines>,
    /// The guest looked at the line status, and sent nothing since.
    looked: bool,
}

impl SerialPort {
    /// A port that interrupts by an eventfd.
    #[must_use]
    pub fn new(interrupt: EventFd, backend: SerialBackend) -> Self {
        let lines = Lines::new(backend.out, &backend.rate, backend.counters);
        Self {
            serial: Serial::with_events(Line(interrupt), Room(backend.room), lines),
            looked: false,
        }
    }

    /// A port as it was saved.
    ///
    /// # Errors
    /// [`SerialRestoreError`] if no port can be so.
    pub fn restore(
        state: &SerialState,
        interrupt: EventFd,
        backend: SerialBackend,
    ) -> Result<Self, SerialRestoreError> {
        let lines = Lines::new(backend.out, &backend.rate, backend.counters);
        let (line, room) = (Line(interrupt), Room(backend.room));
        let serial = Serial::from_state(&state.into(), line, room, lines);
        Ok(Self {
            serial: serial.map_err(|error| state::refused(error, state))?,
            looked: false,
        })
    }

    /// What must be saved. What waits for the end of its line is written first.
    pub fn save(&mut self) -> SerialState {
        self.flush();
        self.serial.state().into()
    }

    /// A vCPU reads. Registers are bytes; of a wider access the first byte is one, and the rest is 0xff, as on a bus where
    /// nobody answers.
    pub fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let (Some(register), Some(byte)) = (register(offset), data.first_mut()) {
            *byte = self.serial.read(register);
            if register == LINE_STATUS {
                // A guest that polls looks once for each byte that it sends; who looks again has sent all.
                if self.looked {
                    self.flush();
                }
                self.looked = true;
            }
        }
    }

    /// A vCPU writes. Of a wider access only the first byte counts.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let (Some(register), Some(byte)) = (register(offset), data.first()) else {
            return;
        };
        match register {
            DATA => self.looked = false,
            // A driver asks for interrupts as long as it has something to send: this may have been all.
            INTERRUPT_ENABLE => self.flush(),
            _ => {}
        }
        if let Err(error) = self.serial.write(register, *byte) {
            tracing::debug!(?error, "a write to the serial port failed");
        }
    }

    /// How many bytes of input there is room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.serial.fifo_capacity()
    }

    /// Somebody typed this. What there is no room for is lost, as on a real line.
    pub fn receive(&mut self, bytes: &[u8]) {
        if let Err(error) = self.serial.enqueue_raw_bytes(bytes) {
            tracing::debug!(?error, "input of the serial port is lost");
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
