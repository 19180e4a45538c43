//! Model-specific registers that a boot needs to differ from what KVM resets them to.

/// `IA32_MISC_ENABLE` (Intel SDM volume 4, table 2-2) and its fast-strings bit.
const IA32_MISC_ENABLE: u32 = 0x1a0;
const FAST_STRINGS: u64 = 1;
/// `IA32_MTRR_DEF_TYPE` (Intel SDM volume 3, section 12.11.2.1): enabled, write-back.
const IA32_MTRR_DEF_TYPE: u32 = 0x2ff;
const MTRR_ENABLED: u64 = 1 << 11;
const WRITE_BACK: u64 = 6;

/// Registers and values for `KVM_SET_MSRS` on every vCPU: fast string instructions, so that Linux uses them for
/// copies, and all memory write-back cached, so that it neither warns of a BIOS bug nor rewrites the MTRRs.
#[must_use]
pub fn boot_msrs() -> [(u32, u64); 2] {
    [
        (IA32_MISC_ENABLE, FAST_STRINGS),
        (IA32_MTRR_DEF_TYPE, MTRR_ENABLED | WRITE_BACK),
    ]
}

/// `HWCR` of AMD (APM volume 2, section 3.2.10) and its bit that says "the TSC counts at the frequency of P0".
const HWCR: u32 = 0xc001_0015;
const TSC_FREQ_SEL: u64 = 1 << 24;

/// Registers without which Linux finds a firmware bug on this vendor's processors, and boots all the same. An older KVM
/// refuses them, which does no harm.
#[must_use]
pub fn quieting_msrs(amd: bool) -> &'static [(u32, u64)] {
    if amd { &[(HWCR, TSC_FREQ_SEL)] } else { &[] }
}
