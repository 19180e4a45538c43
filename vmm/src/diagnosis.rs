//! What can be said about a vCPU that KVM could not run.

use kvm_bindings::{KVM_INTERNAL_ERROR_EMULATION, kvm_run};
use kvm_ioctls::VcpuFd;

/// The words of `internal.data` that hold flags, and the size and bytes of the instruction, when KVM tells them.
const INSTRUCTION_BYTES: usize = 15;

/// Why KVM gave up, for people: which instruction it was, where, and in which mode.
pub(crate) fn internal_error(index: u8, vcpu: &mut VcpuFd) -> String {
    let (suberror, bytes) = emulation(vcpu.get_kvm_run());
    let place = match (vcpu.get_regs(), vcpu.get_sregs()) {
        (Ok(regs), Ok(sregs)) => format!(
            "rip {:#x}, privilege level {}, cr3 {:#x}",
            regs.rip, sregs.ss.dpl, sregs.cr3
        ),
        _ => "at an unknown place".to_owned(),
    };
    if suberror == KVM_INTERNAL_ERROR_EMULATION {
        let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = match bytes.as_slice() {
            [] => "bytes unknown".to_owned(),
            bytes => format!("bytes {}", bytes.join(" ")),
        };
        return format!("vCPU {index}: it cannot emulate the instruction at {place} ({bytes})");
    }
    format!("vCPU {index}: internal error {suberror} at {place}")
}

#[allow(unsafe_code)]
fn emulation(run: &kvm_run) -> (u32, Vec<u8>) {
    // SAFETY: KVM has just left with KVM_EXIT_INTERNAL_ERROR, for which this is the member of the union that it filled.
    let (internal, failure) = unsafe {
        (
            run.__bindgen_anon_1.internal,
            run.__bindgen_anon_1.emulation_failure,
        )
    };
    let mut bytes = Vec::new();
    if internal.ndata >= 4 && failure.flags & 1 != 0 {
        // SAFETY: flag 1 says that this member of the inner union was filled; it is plain bytes in any case.
        let instruction = unsafe { failure.__bindgen_anon_1.__bindgen_anon_1 };
        let size = usize::from(instruction.insn_size).min(INSTRUCTION_BYTES);
        bytes.extend(instruction.insn_bytes.iter().take(size));
    }
    (internal.suberror, bytes)
}
