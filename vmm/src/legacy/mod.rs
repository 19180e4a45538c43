//! The few devices of an old PC that a guest needs to end, and to speak before it has drivers.

mod button;
mod generation;
mod i8042;
mod panic;
mod sleep;
#[cfg(test)]
mod tests;

pub use button::ButtonLine;
pub use generation::Renewal;
pub use i8042::I8042;
pub use panic::PanicPort;
pub use sleep::SleepRegister;

use std::io;
use std::sync::{Mutex, PoisonError};

use hull_devices::serial::SerialPort;

use kvm_bindings::{KVM_IRQCHIP_IOAPIC, kvm_irqchip};
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::bus::Registers;

/// An interrupt line of the PC: an edge for every [`IrqLine::pulse`].
#[derive(Debug)]
pub struct IrqLine(EventFd);

impl IrqLine {
    /// Connects a new line to the interrupt controllers of a machine.
    ///
    /// # Errors
    /// What the host or KVM answered.
    pub fn connect(vm: &VmFd, gsi: u32) -> io::Result<Self> {
        let line = EventFd::new(EFD_NONBLOCK)?;
        vm.register_irqfd(&line, gsi)?;
        Ok(Self(line))
    }

    /// The eventfd, each write to which is a pulse.
    #[must_use]
    pub fn into_inner(self) -> EventFd {
        self.0
    }

    /// Raises the line and lets it go.
    pub fn pulse(&self) {
        // It cannot fail: KVM takes the count away at once.
        let _ = self.0.write(1);
    }
}

/// Whether the I/O APIC passes a line on: a guest lets it once it has a driver for what is there. One that uses the older interrupt
/// controllers counts as one without.
fn is_heard(vm: &VmFd, gsi: u32) -> io::Result<bool> {
    /// Bit of a redirection entry (Intel 82093AA, section 3.2.4).
    const MASKED: u64 = 1 << 16;
    let mut chip = kvm_irqchip {
        chip_id: KVM_IRQCHIP_IOAPIC,
        ..kvm_irqchip::default()
    };
    vm.get_irqchip(&mut chip)?;
    // SAFETY: KVM filled the union in for the chip that was asked for, and any bits are a state of it.
    #[allow(unsafe_code)]
    let ioapic = unsafe { chip.chip.ioapic };
    let pin = usize::try_from(gsi).unwrap_or(usize::MAX);
    let entry = ioapic.redirtbl.get(pin);
    // SAFETY: as above; the union is a number and its bits.
    #[allow(unsafe_code)]
    Ok(entry.is_some_and(|entry| unsafe { entry.bits } & MASKED == 0))
}

impl Registers for Mutex<SerialPort> {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut port = self.lock().unwrap_or_else(PoisonError::into_inner);
        port.read(offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let mut port = self.lock().unwrap_or_else(PoisonError::into_inner);
        port.write(offset, data);
    }
}
