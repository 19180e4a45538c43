//! A template on a vCPU: CPUID before it gets it, model-specific registers when it has everything else.

use hull_arch::cpuid::machine_bits;
use hull_vm_api::config::cpu::CpuidRegister;
use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, Msrs, kvm_cpuid_entry2, kvm_msr_entry};
use kvm_ioctls::VcpuFd;

use super::template::{CpuidChange, MsrChange, Template, TemplateError};

/// Registers that count on by themselves: `IA32_TIME_STAMP_COUNTER`, `IA32_MPERF`, `IA32_APERF`.
const CLOCKS: [u32; 3] = [0x10, 0xe7, 0xe8];

impl Template {
    /// Changes what a vCPU is to be told.
    ///
    /// # Errors
    /// If something is not there, or must stay.
    pub(super) fn apply_to_cpuid(&self, cpuid: &mut CpuId) -> Result<(), TemplateError> {
        self.cpuid
            .iter()
            .try_for_each(|change| change.apply(cpuid.as_mut_slice()))
    }

    /// Changes registers of a vCPU, and looks whether that holds.
    ///
    /// # Errors
    /// If one is not there, or does not take it.
    pub(super) fn apply_to_msrs(&self, vcpu: &VcpuFd) -> Result<(), TemplateError> {
        self.msrs.iter().try_for_each(|change| change.apply(vcpu))
    }
}

impl CpuidChange {
    fn apply(&self, entries: &mut [kvm_cpuid_entry2]) -> Result<(), TemplateError> {
        let (leaf, subleaf) = (self.leaf, self.subleaf);
        let found =
            |entry: &&mut kvm_cpuid_entry2| entry.function == leaf && entry.index == subleaf;
        let entry = entries.iter_mut().find(found);
        let entry = entry.ok_or(TemplateError::NoLeaf { leaf, subleaf })?;
        // Whether the subleaf matters is the processor's, and one that did not would answer for all others.
        if let Some(flags) = self.flags
            && (flags ^ entry.flags) & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0
        {
            let there = entry.flags;
            return Err(TemplateError::Flags {
                leaf,
                subleaf,
                flags,
                there,
            });
        }
        let [eax, ebx, ecx, edx] = machine_bits(leaf);
        let (register, fixed) = match self.register {
            CpuidRegister::Eax => (&mut entry.eax, eax),
            CpuidRegister::Ebx => (&mut entry.ebx, ebx),
            CpuidRegister::Ecx => (&mut entry.ecx, ecx),
            CpuidRegister::Edx => (&mut entry.edx, edx),
        };
        let after = *register & !self.mask | self.value;
        let bits = (after ^ *register) & fixed;
        if bits != 0 {
            return Err(TemplateError::Topology {
                leaf,
                subleaf,
                register: self.register,
                bits,
            });
        }
        *register = after;
        Ok(())
    }
}

impl MsrChange {
    fn apply(&self, vcpu: &VcpuFd) -> Result<(), TemplateError> {
        let address = self.address;
        let before = read(vcpu, address).ok_or(TemplateError::NoMsr(address))?;
        let wanted = before & !self.mask | self.value;
        write(vcpu, address, wanted);
        let there = read(vcpu, address).unwrap_or(before);
        if (there ^ wanted) & self.mask != 0 && !CLOCKS.contains(&address) {
            return Err(TemplateError::Msr {
                address,
                wanted,
                there,
            });
        }
        Ok(())
    }
}

fn list(index: u32, data: u64) -> Option<Msrs> {
    let entry = kvm_msr_entry {
        index,
        data,
        ..Default::default()
    };
    Msrs::from_entries(&[entry]).ok()
}

fn read(vcpu: &VcpuFd, index: u32) -> Option<u64> {
    let mut list = list(index, 0)?;
    let count = vcpu.get_msrs(&mut list).ok()?;
    let entry = list.as_slice().first()?;
    (count == 1).then_some(entry.data)
}

/// What comes of it is read afterwards.
fn write(vcpu: &VcpuFd, index: u32, data: u64) {
    if let Some(list) = list(index, data)
        && let Err(error) = vcpu.set_msrs(&list)
    {
        tracing::debug!(
            "KVM does not take {data:#x} for the model-specific register {index:#x}: {error}"
        );
    }
}
