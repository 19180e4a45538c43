//! What a configuration changes of the guest's CPUs, from whichever section says it: `cpu-config` with its own changes (or the file
//! with them), or one of Firecracker's templates by name.

use std::io::Read;

use hull_arch::cpuid;
use hull_vm_api::VmConfig;
use hull_vm_api::config::cpu::{CpuidRegister, KvmCapability};
use hull_vm_api::config::{CpuConfig, CpuSection, CpuTemplate};
use kvm_bindings::CpuId;

use super::builtin;
use crate::error::StartError;
use crate::files::{Access, Files};

/// No file with changes is longer, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Why the CPUs cannot be as they are to be.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A template for another vendor's processors.
    #[error(
        "machine-config.cpu_template {template:?} is for processors of {wanted}, and this one is of {there}; leave it out, or write what \
         is to be hidden in cpu-config"
    )]
    Vendor {
        /// Its name.
        template: CpuTemplate,
        /// Whose it is for.
        wanted: &'static str,
        /// Whose this one is.
        there: &'static str,
    },
    /// A template for other processors of this vendor.
    #[error(
        "machine-config.cpu_template {template:?} is for {models}, and this processor is another one (CPUID 1 EAX {signature:#x}); leave \
         it out, or write what is to be hidden in cpu-config"
    )]
    Model {
        /// Its name.
        template: CpuTemplate,
        /// What it is for.
        models: String,
        /// What this one says of itself.
        signature: u32,
    },
    /// A leaf that is not there.
    #[error(
        "cpu-config changes subleaf {subleaf:#x} of CPUID leaf {leaf:#x}, which this host's KVM does not have; leave it out"
    )]
    NoLeaf {
        /// Its number.
        leaf: u32,
        /// And that of its part.
        subleaf: u32,
    },
    /// Flags that KVM has otherwise.
    #[error(
        "cpu-config gives subleaf {subleaf:#x} of CPUID leaf {leaf:#x} the flags {flags}, and this host's KVM has {there} for it; say {there}"
    )]
    Flags {
        /// Its number.
        leaf: u32,
        /// And that of its part.
        subleaf: u32,
        /// As configured.
        flags: u32,
        /// As KVM has them.
        there: u32,
    },
    /// Bits that tell the guest how its machine is made.
    #[error(
        "cpu-config changes the bits {bits:#x} of {register:?} in subleaf {subleaf:#x} of CPUID leaf {leaf:#x}, which say what the machine \
         is made of; leave these as x, and set vcpu_count and smt instead"
    )]
    Topology {
        /// Its number.
        leaf: u32,
        /// And that of its part.
        subleaf: u32,
        /// Where the bits are.
        register: CpuidRegister,
        /// Those that differ.
        bits: u32,
    },
    /// A register that is not there.
    #[error(
        "cpu-config changes the model-specific register {0:#x}, which this host's KVM does not have; leave it out"
    )]
    NoMsr(u32),
    /// A register that does not take what it is to have.
    #[error(
        "cpu-config makes the model-specific register {address:#x} {wanted:#x}, and this host's KVM leaves it at {there:#x}; change only \
         bits that it lets one change"
    )]
    Msr {
        /// Its number.
        address: u32,
        /// What it was to become.
        wanted: u64,
        /// What it is.
        there: u64,
    },
}

/// What becomes of bits of a register of CPUID: those in the mask become those of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuidChange {
    pub(super) leaf: u32,
    pub(super) subleaf: u32,
    /// As whoever wrote it believes KVM to have them; none where nobody said.
    pub(super) flags: Option<u32>,
    pub(super) register: CpuidRegister,
    pub(super) mask: u32,
    pub(super) value: u32,
}

/// What becomes of bits of a model-specific register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MsrChange {
    pub(super) address: u32,
    pub(super) mask: u64,
    pub(super) value: u64,
}

/// Everything that is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Template {
    pub(super) cpuid: Vec<CpuidChange>,
    pub(super) msrs: Vec<MsrChange>,
}

/// What a configuration says of the CPUs, read but not yet held against this host's processor.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A template by its name.
    Named(CpuTemplate),
    /// Changes of its own.
    Custom(CpuConfig),
}

impl Wanted {
    /// Reads it, from a file if need be.
    ///
    /// # Errors
    /// If there is no such file, or something else in it.
    pub(crate) fn read(config: &VmConfig, files: &Files) -> Result<Self, StartError> {
        Ok(match &config.cpu_config {
            None => Self::Named(config.machine_config.cpu_template),
            Some(CpuSection::Template(template)) => Self::Custom(template.clone()),
            Some(CpuSection::File(path)) => {
                let file = files.open("cpu-config", path, Access::Read);
                let file = file.map_err(StartError::ConfigFile)?;
                let mut json = Vec::new();
                file.take(MAX_FILE + 1)
                    .read_to_end(&mut json)
                    .map_err(StartError::host("to read the file of cpu-config"))?;
                if json.len() as u64 > MAX_FILE {
                    let (what, most) = ("the file of cpu-config", MAX_FILE);
                    return Err(StartError::LongFile { what, most });
                }
                Self::Custom(CpuConfig::parse(&json)?)
            }
        })
    }

    /// What it says of KVM's capabilities.
    #[must_use]
    pub(crate) fn capabilities(&self) -> &[KvmCapability] {
        match self {
            Self::Named(_) => &[],
            Self::Custom(config) => &config.kvm_capabilities,
        }
    }

    /// All changes, for a host whose KVM supports this CPUID.
    pub(super) fn template(&self, supported: &CpuId) -> Result<Template, TemplateError> {
        match self {
            Self::Named(name) => {
                let leaf = supported.as_slice().iter().find(|leaf| leaf.function == 1);
                let signature = leaf.map_or(0, |leaf| leaf.eax);
                builtin::template(*name, cpuid::is_amd(supported), signature)
            }
            Self::Custom(config) => Ok(Template::from(config)),
        }
    }
}

impl From<&CpuConfig> for Template {
    fn from(config: &CpuConfig) -> Self {
        let leaves = config.cpuid_modifiers.iter();
        let low = |bits: u64| u32::try_from(bits).unwrap_or(u32::MAX);
        Self {
            cpuid: leaves
                .flat_map(|leaf| {
                    leaf.modifiers.iter().map(move |modifier| CpuidChange {
                        leaf: leaf.leaf.0,
                        subleaf: leaf.subleaf.0,
                        flags: Some(leaf.flags),
                        register: modifier.register,
                        mask: low(modifier.bitmap.mask()),
                        value: low(modifier.bitmap.value()),
                    })
                })
                .collect(),
            msrs: config
                .msr_modifiers
                .iter()
                .map(|modifier| MsrChange {
                    address: modifier.addr.0,
                    mask: modifier.bitmap.mask(),
                    value: modifier.bitmap.value(),
                })
                .collect(),
        }
    }
}
