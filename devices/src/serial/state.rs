//! What a serial port saves.

use std::io;

use serde::{Deserialize, Serialize};
use vm_superio::serial::{Error, SerialState as Registers};

/// The saved state of a serial port: its registers, and what was typed and not read yet. What it wrote is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialState {
    /// The low byte of the divisor.
    pub divisor_low: u8,
    /// Its high byte.
    pub divisor_high: u8,
    /// Interrupt Enable.
    pub interrupt_enable: u8,
    /// Interrupt Identification.
    pub interrupt_identification: u8,
    /// Line Control.
    pub line_control: u8,
    /// Line Status.
    pub line_status: u8,
    /// Modem Control.
    pub modem_control: u8,
    /// Modem Status.
    pub modem_status: u8,
    /// Scratch.
    pub scratch: u8,
    /// Typed, and not read yet.
    pub input: Vec<u8>,
}

/// Why a saved state did not become a serial port.
#[derive(Debug, thiserror::Error)]
pub enum SerialRestoreError {
    /// More than a port has room for.
    #[error("the saved serial port has {0} bytes of input, more than it has room for")]
    Input(usize),
    /// Its interrupt.
    #[error("the interrupt of the saved serial port did not reach the guest")]
    Interrupt(#[source] io::Error),
}

impl From<Registers> for SerialState {
    fn from(registers: Registers) -> Self {
        Self {
            divisor_low: registers.baud_divisor_low,
            divisor_high: registers.baud_divisor_high,
            interrupt_enable: registers.interrupt_enable,
            interrupt_identification: registers.interrupt_identification,
            line_control: registers.line_control,
            line_status: registers.line_status,
            modem_control: registers.modem_control,
            modem_status: registers.modem_status,
            scratch: registers.scratch,
            input: registers.in_buffer,
        }
    }
}

impl From<&SerialState> for Registers {
    fn from(state: &SerialState) -> Self {
        Self {
            baud_divisor_low: state.divisor_low,
            baud_divisor_high: state.divisor_high,
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.input.clone(),
        }
    }
}

/// Why the registers were not taken.
pub(super) fn refused(error: Error<io::Error>, state: &SerialState) -> SerialRestoreError {
    match error {
        Error::Trigger(error) | Error::IOError(error) => SerialRestoreError::Interrupt(error),
        Error::FullFifo => SerialRestoreError::Input(state.input.len()),
    }
}
