//! What every machine has of KVM, whatever machine it is to be.
//!
//! The machine's process is there before it is told what to make; where an API is to tell, long before. What is here is made
//! meanwhile, so that who starts a machine does not wait for it.

use std::sync::Arc;

use hull_arch::Topology;
use hull_vm_api::config::cpu::KvmCapability;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};

use crate::files::Files;
use crate::kvm::{self, KvmError};
use crate::memory::Reserved;
use crate::timeline::{Stage, Timeline};

/// A virtual machine of KVM's with its first vCPU.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) kvm: Kvm,
    pub(crate) vm: Arc<VmFd>,
    /// The vCPU number 0, until it is taken.
    first: Option<VcpuFd>,
    /// What of a processor KVM supports in a guest.
    pub(crate) supported: CpuId,
    /// What a vCPU has that was given all of that: where masks do not hold, more.
    pub(crate) had: CpuId,
    /// Where memory of a certain size can be mapped, if that was expected.
    pub(crate) memory: Option<Reserved>,
}

impl Ready {
    /// Makes what there can be before anything is known; `expected` is how much memory the machine will have in MiB, if somebody has a
    /// notion of that. Nothing where KVM refuses: whoever needs it tries again, and has the reason.
    pub(crate) fn make(files: &Files, expected: Option<u64>, timeline: &Timeline) -> Option<Self> {
        let mut ready = Self::with(&[], files, timeline).ok()?;
        ready.memory = expected.and_then(|mib| Reserved::make(&ready.vm, mib));
        Some(ready)
    }

    /// What there is for a machine with so many vCPUs, which asks for more of KVM or for less.
    ///
    /// # Errors
    /// What KVM lacks or refused.
    pub(crate) fn take(
        made: Option<Self>,
        (capabilities, vcpus): (&[KvmCapability], u8),
        files: &Files,
        timeline: &Timeline,
    ) -> Result<Self, KvmError> {
        let ready = match made.filter(|_| capabilities.is_empty()) {
            Some(ready) => ready,
            None => Self::with(capabilities, files, timeline)?,
        };
        kvm::check_vcpus(&ready.kvm, vcpus.into())?;
        Ok(ready)
    }

    fn with(
        capabilities: &[KvmCapability],
        files: &Files,
        timeline: &Timeline,
    ) -> Result<Self, KvmError> {
        let kvm = kvm::take(files.kvm(), capabilities)?;
        let vm = Arc::new(kvm::create_vm(&kvm)?);
        let first = vm.create_vcpu(0).map_err(KvmError::step("create a vCPU"))?;
        let supported = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
        let supported = supported.map_err(KvmError::step("tell its CPUID"))?;
        let set = first.set_cpuid2(&supported);
        set.map_err(KvmError::step("set CPUID"))?;
        let had = first.get_cpuid2(KVM_MAX_CPUID_ENTRIES);
        let had = had.map_err(KvmError::step("tell a vCPU's CPUID"))?;
        timeline.mark(Stage::KvmReady);
        Ok(Self {
            kvm,
            vm,
            first: Some(first),
            supported,
            had,
            memory: None,
        })
    }

    /// The vCPU of this number. Its CPUID is still to be set.
    ///
    /// # Errors
    /// What KVM refused.
    pub(crate) fn vcpu(&mut self, topology: Topology, index: u8) -> Result<VcpuFd, KvmError> {
        let id = topology.apic_id(index);
        match self.first.take_if(|_| id == 0) {
            Some(first) => Ok(first),
            None => {
                let made = self.vm.create_vcpu(id.into());
                made.map_err(KvmError::step("create a vCPU"))
            }
        }
    }

    /// Gives up memory that was expected and is not to be.
    ///
    /// # Errors
    /// What KVM refused.
    pub(crate) fn without_memory(&mut self) -> Result<(), KvmError> {
        match self.memory.take() {
            Some(reserved) => reserved.give_up(&self.vm),
            None => Ok(()),
        }
    }
}
