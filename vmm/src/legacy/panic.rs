//! The port by which a guest tells its end: pvpanic's interface (QEMU's `docs/specs/pvpanic.rst`) at I/O port 0x505.
//!
//! The guest reads what the port understands and writes what happened. Hull's kernel writes it for a panic and for a power-off,
//! because it boots without ACPI.

use std::sync::Arc;

use hull_arch::layout;
use hull_vm_api::ExitCause;

use crate::bus::Registers;
use crate::ending::Ending;

const PANICKED: u8 = 1 << 0;
const SHUTDOWN: u8 = 1 << 2;

/// The port.
#[derive(Debug)]
pub struct PanicPort {
    ending: Arc<Ending>,
}

impl PanicPort {
    /// Where it is.
    pub const PORTS: std::ops::Range<u64> =
        layout::PVPANIC_PORT as u64..layout::PVPANIC_PORT as u64 + 1;

    /// A port that ends the machine.
    #[must_use]
    pub fn new(ending: Arc<Ending>) -> Self {
        Self { ending }
    }
}

impl Registers for PanicPort {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(PANICKED | SHUTDOWN);
    }

    fn write(&self, _offset: u64, data: &[u8]) {
        match data {
            [events] if events & PANICKED != 0 => self.ending.announce(ExitCause::Panic),
            [events] if events & SHUTDOWN != 0 => self.ending.announce(ExitCause::PowerOff),
            _ => {}
        }
    }
}
