//! The line of the power button. It has no registers: ACPI's event device, or a parameter of Hull's own kernel, names its interrupt.

use std::fmt;
use std::io;
use std::sync::Arc;

use hull_arch::layout;
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
        let heard = super::is_heard(&self.vm, layout::POWER_BUTTON_GSI).unwrap_or(false);
        if heard {
            self.line.pulse();
        }
        heard
    }
}

impl fmt::Debug for ButtonLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ButtonLine").finish_non_exhaustive()
    }
}
