//! The line of the power button. It has no registers: ACPI's event device, or a parameter of Hull's own kernel, names its interrupt.

use std::fmt;
use std::io;
use std::sync::Arc;

use hull_arch::layout;
use kvm_bindings::{KVM_IRQCHIP_IOAPIC, kvm_irqchip};
use kvm_ioctls::VmFd;

use super::IrqLine;

/// The line, and the interrupt controller at which one sees whether a guest listens to it.
pub struct ButtonLine {
    vm: Arc<VmFd>,
    line: IrqLine,
}

impl ButtonLine {
    /// Connects the button to a machine's interrupt controllers.
    ///
    /// # Errors
    /// What the host or KVM answered.
    pub fn connect(vm: Arc<VmFd>) -> io::Result<Self> {
        let line = IrqLine::connect(&vm, layout::POWER_BUTTON_GSI)?;
        Ok(Self { vm, line })
    }

    /// Presses the button if the guest listens to it; false if it does not, and never saw it.
    pub fn press(&self) -> bool {
        let heard = self.is_heard().unwrap_or(false);
        if heard {
            self.line.pulse();
        }
        heard
    }

    /// Whether the I/O APIC passes the line on: a guest lets it once it has a driver for what is there. One that uses the older
    /// interrupt controllers counts as one without.
    fn is_heard(&self) -> io::Result<bool> {
        let mut chip = kvm_irqchip {
            chip_id: KVM_IRQCHIP_IOAPIC,
            ..kvm_irqchip::default()
        };
        self.vm.get_irqchip(&mut chip)?;
        // SAFETY: KVM filled the union in for the chip that was asked for, and any bits are a state of it.
        #[allow(unsafe_code)]
        let ioapic = unsafe { chip.chip.ioapic };
        let pin = usize::try_from(layout::POWER_BUTTON_GSI).unwrap_or(usize::MAX);
        let entry = ioapic.redirtbl.get(pin);
        // SAFETY: as above; the union is a number and its bits.
        #[allow(unsafe_code)]
        Ok(entry.is_some_and(|entry| unsafe { entry.bits } & MASKED == 0))
    }
}

/// Bit of a redirection entry (Intel 82093AA, section 3.2.4).
const MASKED: u64 = 1 << 16;

impl fmt::Debug for ButtonLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ButtonLine").finish_non_exhaustive()
    }
}
