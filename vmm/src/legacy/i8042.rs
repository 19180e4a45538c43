//! The keyboard controller (Intel 8042): a guest resets the machine by it, and Ctrl-Alt-Del reaches the guest by it.
//!
//! Only what Linux's reset code and its `i8042` and `atkbd` drivers use: the status register, the output buffer, the
//! control byte, and a keyboard (untranslated, scan code set 2) on which nobody presses more than three keys.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hull_vm_api::ExitCause;

use super::IrqLine;
use crate::bus::Registers;
use crate::ending::Ending;
use crate::snapshot::format::v1::KeyboardState;

/// Offsets of the two ports, 0x60 and 0x64.
const DATA: u64 = 0;
const COMMAND: u64 = 4;

/// Status: the output buffer has a byte; the self-test passed; the last write was a command; the keyboard is not locked.
const OUTPUT_FULL: u8 = 1 << 0;
const SYSTEM_OK: u8 = 1 << 2;
const WAS_COMMAND: u8 = 1 << 3;
const UNLOCKED: u8 = 1 << 4;

/// Control byte: interrupt when the output buffer gets a byte.
const INTERRUPT: u8 = 1 << 0;

const ACK: u8 = 0xfa;

/// Ctrl, Alt and Delete go down, then up in the opposite order.
const CTRL_ALT_DEL: [u8; 11] = [
    0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14,
];

/// A guest that asks without reading gets no more than this.
const BUFFER: usize = 64;

/// The controller and its keyboard.
#[derive(Debug)]
pub struct I8042 {
    ending: Arc<Ending>,
    irq: IrqLine,
    output: VecDeque<u8>,
    control: u8,
    /// The command whose parameter is the next byte at the data port.
    pending: Option<u8>,
    was_command: bool,
}

impl I8042 {
    /// What it answers at; the ports in between belong to others.
    pub const PORTS: std::ops::Range<u64> = 0x60..0x65;
    /// The interrupt line of the keyboard.
    pub const GSI: u32 = 1;

    /// A controller that ends the machine when the guest asks it for a reset.
    #[must_use]
    pub fn new(ending: Arc<Ending>, irq: IrqLine) -> Self {
        Self {
            ending,
            irq,
            output: VecDeque::new(),
            control: INTERRUPT | SYSTEM_OK,
            pending: None,
            was_command: false,
        }
    }

    /// What must be saved.
    #[must_use]
    pub fn save(&self) -> KeyboardState {
        KeyboardState {
            output: self.output.iter().copied().collect(),
            control: self.control,
            pending: self.pending,
            was_command: self.was_command,
        }
    }

    /// Is as it was saved. What there is to read is told once more: the interrupt may have been on its way.
    pub fn restore(&mut self, state: &KeyboardState) {
        self.output = state.output.iter().copied().take(BUFFER).collect();
        self.control = state.control;
        self.pending = state.pending;
        self.was_command = state.was_command;
        self.interrupt();
    }

    /// Presses Ctrl, Alt and Delete together, which asks the guest for an orderly end.
    pub fn press_ctrl_alt_del(&mut self) {
        self.output.clear();
        self.send(&CTRL_ALT_DEL);
    }

    /// Lets the guest read these bytes next.
    fn send(&mut self, bytes: &[u8]) {
        if self.output.len() + bytes.len() > BUFFER {
            return;
        }
        self.output.extend(bytes);
        self.interrupt();
    }

    fn interrupt(&self) {
        if self.control & INTERRUPT != 0 && !self.output.is_empty() {
            self.irq.pulse();
        }
    }

    fn status(&self) -> u8 {
        let mut status = SYSTEM_OK | UNLOCKED;
        if !self.output.is_empty() {
            status |= OUTPUT_FULL;
        }
        if self.was_command {
            status |= WAS_COMMAND;
        }
        status
    }

    fn command(&mut self, command: u8) {
        self.was_command = true;
        self.pending = None;
        match command {
            0x20 => self.send(&[self.control]),
            0x60 | 0xd1..=0xd4 => self.pending = Some(command),
            0xaa => self.send(&[0x55]), // self-test passed
            0xab => self.send(&[0x00]), // keyboard interface works
            0xa9 => self.send(&[0x01]), // no mouse there
            0xd0 => self.send(&[0x01]), // output port: no reset
            0xfe => self.ending.announce(ExitCause::Reboot),
            _ => {}
        }
    }

    fn data(&mut self, byte: u8) {
        self.was_command = false;
        match self.pending.take() {
            Some(0x60) => {
                self.control = byte;
                self.interrupt();
            }
            Some(0xd2) => self.send(&[byte]), // echo, as if from the keyboard
            Some(_) => {}
            None => match byte {
                0xee => self.send(&[0xee]),
                0xf2 => self.send(&[ACK, 0xab, 0x83]), // identify: a keyboard
                0xff => self.send(&[ACK, 0xaa]),       // reset: passed
                _ => self.send(&[ACK]),
            },
        }
    }
}

/// Both registers are a byte wide; anything else reads zeros and writes nothing.
impl Registers for Mutex<I8042> {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let mut i8042 = self.lock().unwrap_or_else(PoisonError::into_inner);
        match (offset, data) {
            (DATA, [byte]) => {
                *byte = i8042.output.pop_front().unwrap_or(0);
                i8042.interrupt();
            }
            (COMMAND, [byte]) => *byte = i8042.status(),
            _ => {}
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let mut i8042 = self.lock().unwrap_or_else(PoisonError::into_inner);
        match (offset, data) {
            (DATA, [byte]) => i8042.data(*byte),
            (COMMAND, [byte]) => i8042.command(*byte),
            _ => {}
        }
    }
}
