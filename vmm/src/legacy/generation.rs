//! The identifier of a machine's generation, which ACPI's tables name (`VM_Gen_Counter`): 16 bytes in the guest's memory that are others in each
//! machine that goes on from a snapshot. An operating system that is told, and finds others, has been copied.

use std::io;

use hull_arch::layout;
use hull_devices::GuestMemory;
use kvm_ioctls::VmFd;
use vm_memory::Bytes;

use super::{IrqLine, is_heard};

/// A restored machine's own identifier, which its guest has not been told of.
#[derive(Debug)]
pub struct Renewal {
    id: [u8; 16],
    /// There is none where nobody would hear it.
    line: Option<IrqLine>,
}

impl Renewal {
    /// For a machine whose interrupt controllers are as they were saved, and whose line may be a device's.
    ///
    /// # Errors
    /// What the host or KVM answered.
    pub fn new(vm: &VmFd, id: [u8; 16], has_line: bool) -> io::Result<Self> {
        let line = match has_line && is_heard(vm, layout::GENERATION_GSI)? {
            true => Some(IrqLine::connect(vm, layout::GENERATION_GSI)?),
            false => None,
        };
        Ok(Self { id, line })
    }

    /// Puts the identifier where the guest looks, and tells it. The page may be another process's to fill, and is waited for.
    pub fn carry_out(self, memory: &GuestMemory) {
        // Every machine has memory there.
        let written = memory.write_slice(&self.id, layout::GENERATION);
        if let (Ok(()), Some(line)) = (written, self.line) {
            line.pulse();
        }
    }
}
