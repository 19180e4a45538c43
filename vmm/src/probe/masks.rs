//! Whether what KVM_SET_CPUID2 hides is hidden from the guest.

use kvm_bindings::CpuId;

use super::ProbeError;
use super::guest::MicroGuest;
use super::instructions::{Register, cpuid};
use super::state::Level;

/// Leaf 1, ECX: POPCNT and AVX, of which programs ask.
const HIDDEN: u32 = 1 << 23 | 1 << 28;

pub(super) fn hold(guest: &mut MicroGuest, supported: &CpuId) -> Result<bool, ProbeError> {
    let mut masked = supported.clone();
    for leaf in masked
        .as_mut_slice()
        .iter_mut()
        .filter(|leaf| leaf.function == 1)
    {
        leaf.ecx &= !HIDDEN;
    }
    guest.set_cpuid(masked)?;
    for level in [Level::Kernel, Level::User] {
        if cpuid(guest, level, 1, 0, Register::Ecx)? & HIDDEN != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
