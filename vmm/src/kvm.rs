//! KVM: opening it with a clear word when that fails, and the virtual machine with its interrupt controllers and timer.
//!
//! The interrupt controllers are KVM's own (PIC, IOAPIC, LAPICs), so that interrupts of devices reach the guest by irqfd without
//! this process. The old timer (PIT) is there only where a guest must calibrate its APIC's by it: without it a machine starts
//! sooner and has no kernel thread.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use hull_arch::layout;
use hull_vm_api::config::cpu::KvmCapability;
use kvm_bindings::{KVM_API_VERSION, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{Cap, Kvm, VmFd};

const DEVICE: &str = "/dev/kvm";

/// Why KVM cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// No such device.
    #[error(
        "there is no {DEVICE}; load kvm_intel or kvm_amd, and switch virtualisation on in the firmware (or nested virtualisation at the host)"
    )]
    Missing,
    /// Not for this user.
    #[error(
        "no permission to open {DEVICE}; add the user to its group: sudo usermod -aG kvm $USER, then log in again"
    )]
    Permission,
    /// Anything else about opening it.
    #[error("cannot open {DEVICE}; is it KVM's?")]
    Open(#[source] io::Error),
    /// A KVM of another age.
    #[error(
        "{DEVICE} speaks version {0} of its interface, and Hull needs {KVM_API_VERSION}; use another host kernel"
    )]
    Version(i32),
    /// A KVM without something that Hull builds on.
    #[error("this host's KVM lacks {0}; use a newer host kernel")]
    Capability(&'static str),
    /// A KVM without something that the configuration asks for.
    #[error(
        "cpu-config asks for KVM's capability {0}, which this host's KVM does not have; use a newer host kernel, or leave it out"
    )]
    Wanted(u32),
    /// More vCPUs than KVM takes.
    #[error(
        "this host's KVM runs at most {most} vCPUs in a machine, and {wanted} are wanted; lower vcpu_count"
    )]
    Vcpus {
        /// As configured.
        wanted: usize,
        /// KVM's limit.
        most: usize,
    },
    /// More CPUID entries than can be handed back to KVM.
    #[error("this host's KVM lists {0} entries of CPUID, more than it takes back")]
    Cpuid(usize),
    /// KVM refused a step that should work.
    #[error("KVM refused to {step}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// What it answered.
        #[source]
        source: io::Error,
    },
}

impl KvmError {
    /// For `map_err`: KVM refused to do `step`.
    pub fn step(step: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |error| Self::Step {
            step,
            source: error.into(),
        }
    }
}

/// What Hull cannot do without.
const NEEDED: [(Cap, &str); 6] = [
    (
        Cap::Irqchip,
        "its own interrupt controllers (KVM_CAP_IRQCHIP)",
    ),
    (Cap::Irqfd, "interrupts by eventfd (KVM_CAP_IRQFD)"),
    (
        Cap::Ioeventfd,
        "notifications by eventfd (KVM_CAP_IOEVENTFD)",
    ),
    (
        Cap::UserMemory,
        "memory of user space (KVM_CAP_USER_MEMORY)",
    ),
    (Cap::ExtCpuid, "KVM_GET_SUPPORTED_CPUID (KVM_CAP_EXT_CPUID)"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
];

/// Opens KVM and checks that it has what Hull needs, and what `capabilities` add to that or take from it.
///
/// # Errors
/// What is wrong, and what to do about it.
pub fn open(capabilities: &[KvmCapability]) -> Result<Kvm, KvmError> {
    take(crate::keeper::opening::kvm(), capabilities)
}

/// The same with what the host answered to opening it.
///
/// # Errors
/// As for [`open`].
#[allow(unsafe_code)]
pub(crate) fn take(
    opened: io::Result<OwnedFd>,
    capabilities: &[KvmCapability],
) -> Result<Kvm, KvmError> {
    let fd = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => KvmError::Missing,
        Some(libc::EACCES | libc::EPERM) => KvmError::Permission,
        _ => KvmError::Open(error),
    })?;
    // SAFETY: the descriptor was owned here, and is the new object's alone from now on.
    let kvm = unsafe { Kvm::from_raw_fd(fd.into_raw_fd()) };
    let version = kvm.get_api_version();
    if u32::try_from(version) != Ok(KVM_API_VERSION) {
        // Something that is not KVM answers every ioctl with an error.
        return Err(match version {
            ..0 => KvmError::Open(io::Error::last_os_error()),
            _ => KvmError::Version(version),
        });
    }
    let spared = |cap: Cap| {
        let spared = |wanted: &KvmCapability| *wanted == KvmCapability::NotRequired(cap as u32);
        capabilities.iter().any(spared)
    };
    let missing = |(cap, _): &&(Cap, _)| !spared(*cap) && !kvm.check_extension(*cap);
    if let Some((_, name)) = NEEDED.iter().find(missing) {
        return Err(KvmError::Capability(name));
    }
    for capability in capabilities {
        if let KvmCapability::Required(number) = capability
            && kvm.check_extension_raw((*number).into()) <= 0
        {
            return Err(KvmError::Wanted(*number));
        }
    }
    Ok(kvm)
}

/// Checks that a machine can have so many vCPUs.
///
/// # Errors
/// If that is more than KVM takes.
pub(crate) fn check_vcpus(kvm: &Kvm, wanted: usize) -> Result<(), KvmError> {
    let most = kvm.get_max_vcpus();
    match wanted > most {
        true => Err(KvmError::Vcpus { wanted, most }),
        false => Ok(()),
    }
}

/// Makes a virtual machine with interrupt controllers and timer, but no memory and no vCPUs.
///
/// # Errors
/// What KVM refused.
pub fn create_vm(kvm: &Kvm) -> Result<VmFd, KvmError> {
    let vm = create_uninterrupted(kvm).map_err(KvmError::step("create a virtual machine"))?;
    vm.set_identity_map_address(layout::KVM_IDENTITY_MAP.0)
        .map_err(KvmError::step("place its identity map"))?;
    let tss = usize::try_from(layout::KVM_TSS.0).unwrap_or_default();
    vm.set_tss_address(tss)
        .map_err(KvmError::step("place its task state segment"))?;
    vm.create_irq_chip()
        .map_err(KvmError::step("create the interrupt controllers"))?;
    if has_pit(kvm) {
        let pit = kvm_pit_config {
            flags: KVM_PIT_SPEAKER_DUMMY,
            ..Default::default()
        };
        vm.create_pit2(pit)
            .map_err(KvmError::step("create the timer"))?;
    }
    Ok(vm)
}

/// Whether machines have the old timer.
pub(crate) fn has_pit(kvm: &Kvm) -> bool {
    !kvm.check_extension(Cap::TscDeadlineTimer)
}

/// KVM_CREATE_VM gives up with EINTR when a signal comes, which says nothing about KVM.
fn create_uninterrupted(kvm: &Kvm) -> Result<VmFd, kvm_ioctls::Error> {
    loop {
        match kvm.create_vm() {
            Err(error) if error.errno() == libc::EINTR => {}
            result => return result,
        }
    }
}
