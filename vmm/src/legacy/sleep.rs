//! ACPI's sleep control register, by which a guest with ACPI powers off (ACPI 6.5, section 4.8.3.7).

use std::sync::Arc;

use hull_arch::layout;
use hull_vm_api::ExitCause;

use crate::bus::Registers;
use crate::ending::Ending;

/// The control register and, behind it, the status register.
#[derive(Debug)]
pub struct SleepRegister {
    ending: Arc<Ending>,
}

impl SleepRegister {
    /// Where it is.
    pub const PORTS: std::ops::Range<u64> =
        layout::ACPI_SLEEP_PORT as u64..layout::ACPI_SLEEP_PORT as u64 + 2;

    /// A register that ends the machine.
    #[must_use]
    pub fn new(ending: Arc<Ending>) -> Self {
        Self { ending }
    }
}

impl Registers for SleepRegister {
    /// Nothing ever woke this machine.
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if (offset, data) == (0, &[layout::ACPI_POWER_OFF]) {
            self.ending.announce(ExitCause::PowerOff);
        }
    }
}
