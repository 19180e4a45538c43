//! vCPUs as KVM makes them, with CPUID, MSRs and registers as the guest is to find them.
//!
//! ```text
//! template.rs  what a configuration changes      apply.rs  how that comes to a vCPU
//! builtin.rs   what Firecracker's templates hide
//! ```

mod apply;
mod builtin;
mod template;

pub(crate) use template::{TemplateError, Wanted};

use hull_arch::boot::Entry;
use hull_arch::{Topology, cpuid, msr, regs};
use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::{Cap, VcpuFd};

use crate::kvm::KvmError;
use crate::ready::Ready;

/// Why there are no vCPUs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CpuError {
    #[error(transparent)]
    Kvm(#[from] KvmError),
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Makes all vCPUs of a machine. The first one starts at `entry`; the others wait until the guest wakes them.
///
/// # Errors
/// What KVM refused.
pub(crate) fn create(
    ready: &mut Ready,
    topology: Topology,
    entry: &Entry,
    wanted: &Wanted,
) -> Result<Vec<VcpuFd>, CpuError> {
    let supported = ready.supported.clone();
    let template = wanted.template(&supported)?;
    let tsc_deadline = ready.kvm.check_extension(Cap::TscDeadlineTimer);
    (0..topology.vcpus())
        .map(|index| {
            let vcpu = ready.vcpu(topology, index)?;
            let host = cpuid::Host {
                tsc_deadline,
                tsc_khz: vcpu.get_tsc_khz().ok(),
            };
            let mut cpuid = cpuid::normalise(&supported, index, topology, host)
                .map_err(|_| KvmError::Cpuid(supported.as_slice().len()))?;
            template.apply_to_cpuid(&mut cpuid)?;
            vcpu.set_cpuid2(&cpuid)
                .map_err(KvmError::step("set CPUID"))?;
            set_msrs(&vcpu)?;
            for (index, data) in msr::quieting_msrs(cpuid::is_amd(&supported)) {
                set_if_known(&vcpu, *index, *data);
            }
            if index == 0 {
                set_registers(&vcpu, entry)?;
            }
            template.apply_to_msrs(&vcpu)?;
            Ok(vcpu)
        })
        .collect()
}

fn set_msrs(vcpu: &VcpuFd) -> Result<(), KvmError> {
    let entries = msr::boot_msrs().map(|(index, data)| kvm_msr_entry {
        index,
        data,
        ..Default::default()
    });
    let refused =
        || KvmError::step("set model-specific registers")(kvm_ioctls::Error::new(libc::EINVAL));
    let msrs = Msrs::from_entries(&entries).map_err(|_| refused())?;
    match vcpu.set_msrs(&msrs) {
        Ok(count) if count == entries.len() => Ok(()),
        Ok(_) => Err(refused()),
        Err(error) => Err(KvmError::step("set model-specific registers")(error)),
    }
}

/// Sets a register that the guest can do without.
fn set_if_known(vcpu: &VcpuFd, index: u32, data: u64) {
    let entry = kvm_msr_entry {
        index,
        data,
        ..Default::default()
    };
    let set = Msrs::from_entries(&[entry])
        .is_ok_and(|list| vcpu.set_msrs(&list).is_ok_and(|count| count == 1));
    if !set {
        tracing::debug!("KVM does not take {data:#x} for the model-specific register {index:#x}");
    }
}

fn set_registers(vcpu: &VcpuFd, entry: &Entry) -> Result<(), KvmError> {
    let current = vcpu
        .get_sregs()
        .map_err(KvmError::step("tell the registers"))?;
    vcpu.set_sregs(&regs::boot_sregs(entry, current))
        .map_err(KvmError::step("set the special registers"))?;
    vcpu.set_regs(&regs::boot_regs(entry))
        .map_err(KvmError::step("set the registers"))?;
    vcpu.set_fpu(&regs::boot_fpu())
        .map_err(KvmError::step("set the floating-point registers"))
}
