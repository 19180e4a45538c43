//! What the guest's CPUs look like: changes to what KVM offers, in the format of Firecracker's custom CPU templates.
//!
//! Numbers are texts in the JSON (`"0x80000001"`, `"0b0xx1"`), since JSON has neither hexadecimal nor "leave as it is".

mod bitmap;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use bitmap::{Bitmap, NoBitmap};

use super::number::{in_range, number};
use super::{ConfigError, HostPath, strict};

/// All flags of `struct kvm_cpuid_entry2` together.
const MAX_FLAGS: u64 = 7;

/// The section of the configuration file: the template itself, or the file that it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CpuSection {
    /// A file with a [`CpuConfig`] in JSON.
    File(HostPath),
    /// The template.
    Template(CpuConfig),
}

/// Changes to what KVM offers to the guest's CPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuConfig {
    /// Capabilities that KVM must have, or need not have although Hull asks for them.
    #[serde(default)]
    pub kvm_capabilities: Vec<KvmCapability>,
    /// Changes to leaves of CPUID.
    #[serde(default)]
    pub cpuid_modifiers: Vec<CpuidModifier>,
    /// Changes to model specific registers.
    #[serde(default)]
    pub msr_modifiers: Vec<MsrModifier>,
}

/// A number of `KVM_CHECK_EXTENSION`: `"121"` must be there, `"!121"` need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KvmCapability {
    /// KVM must have it.
    Required(u32),
    /// KVM need not have it.
    NotRequired(u32),
}

/// Changes to one leaf of CPUID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuidModifier {
    /// The leaf (EAX).
    pub leaf: RegisterNumber,
    /// The subleaf (ECX).
    pub subleaf: RegisterNumber,
    /// `flags` of `struct kvm_cpuid_entry2`: 1 where the subleaf is significant.
    #[serde(deserialize_with = "number::<_, _, 0, { u32::MAX as u64 }>")]
    pub flags: u32,
    /// What becomes of its registers.
    pub modifiers: Vec<CpuidRegisterModifier>,
}

/// A change to one register of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuidRegisterModifier {
    /// Which one.
    pub register: CpuidRegister,
    /// What becomes of its bits.
    pub bitmap: Bitmap<32>,
}

/// What CPUID returns in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CpuidRegister {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// A change to a model specific register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MsrModifier {
    /// Which one.
    pub addr: RegisterNumber,
    /// What becomes of its bits.
    pub bitmap: Bitmap<64>,
}

/// The number of a leaf or a register: `"0x10a"`, `"0b100001010"` or `"266"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegisterNumber(pub u32);

/// A text that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct NoNumber {
    text: String,
    what: &'static str,
}

impl CpuConfig {
    /// Reads a template, from the file of a [`CpuSection::File`] or a request.
    ///
    /// # Errors
    /// What was wrong, in a sentence.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = strict::from_slice(json)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that nothing is to become two things at once.
    fn validate(&self) -> Result<(), ConfigError> {
        for leaf in &self.cpuid_modifiers {
            let (number, subleaf) = (leaf.leaf.0, leaf.subleaf.0);
            in_range("cpu-config.cpuid_modifiers.flags", leaf.flags, 0, MAX_FLAGS)?;
            let same =
                |other: &&CpuidModifier| (other.leaf, other.subleaf) == (leaf.leaf, leaf.subleaf);
            for other in self.cpuid_modifiers.iter().filter(same) {
                if other.flags != leaf.flags {
                    return Err(ConfigError::conflict(format!(
                        "cpu-config gives subleaf {subleaf:#x} of CPUID leaf {number:#x} the flags {} and {}; only one of them can be",
                        leaf.flags, other.flags
                    )));
                }
            }
        }
        let leaves = self.cpuid_modifiers.iter();
        let registers = leaves.flat_map(|leaf| {
            let changes = leaf.modifiers.iter();
            changes.map(move |change| ((leaf.leaf, leaf.subleaf, change.register), change.bitmap))
        });
        if let Some(((leaf, subleaf, register), bit)) = contradiction(registers) {
            return Err(ConfigError::conflict(format!(
                "cpu-config makes bit {bit} of {register:?} in subleaf {:#x} of CPUID leaf {:#x} both 0 and 1; say one of them",
                subleaf.0, leaf.0
            )));
        }
        let msrs = self.msr_modifiers.iter();
        if let Some((msr, bit)) = contradiction(msrs.map(|msr| (msr.addr, msr.bitmap))) {
            return Err(ConfigError::conflict(format!(
                "cpu-config makes bit {bit} of the model-specific register {:#x} both 0 and 1; say one of them",
                msr.0
            )));
        }
        self.validate_capabilities()
    }

    fn validate_capabilities(&self) -> Result<(), ConfigError> {
        for capability in &self.kvm_capabilities {
            if let KvmCapability::Required(number) = capability
                && self
                    .kvm_capabilities
                    .contains(&KvmCapability::NotRequired(*number))
            {
                return Err(ConfigError::conflict(format!(
                    "cpu-config.kvm_capabilities has both {number} and !{number}; KVM must have it or need not"
                )));
            }
        }
        Ok(())
    }
}

/// The first bit that two bitmaps of the same register put to different values.
fn contradiction<K: Copy + PartialEq, const BITS: u32>(
    changes: impl Iterator<Item = (K, Bitmap<BITS>)>,
) -> Option<(K, u32)> {
    let mut seen: Vec<(K, Bitmap<BITS>)> = Vec::new();
    for (key, bitmap) in changes {
        for (_, other) in seen.iter().filter(|(other, _)| *other == key) {
            let both = bitmap.mask() & other.mask();
            let differ = (bitmap.value() ^ other.value()) & both;
            if differ != 0 {
                return Some((key, differ.trailing_zeros()));
            }
        }
        seen.push((key, bitmap));
    }
    None
}

impl CpuSection {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::File(path) => path.check("cpu-config"),
            Self::Template(template) => template.validate(),
        }
    }
}

impl<'de> Deserialize<'de> for CpuSection {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = CpuSection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CPU template, or the path of a file with one")
            }

            fn visit_str<E>(self, path: &str) -> Result<CpuSection, E> {
                Ok(CpuSection::File(path.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CpuSection, A::Error> {
                CpuConfig::deserialize(MapAccessDeserializer::new(map)).map(CpuSection::Template)
            }
        }
        from.deserialize_any(Either)
    }
}

impl FromStr for RegisterNumber {
    type Err = NoNumber;

    fn from_str(text: &str) -> Result<Self, NoNumber> {
        let (digits, radix) = if let Some(digits) = text.strip_prefix("0x") {
            (digits, 16)
        } else if let Some(digits) = text.strip_prefix("0b") {
            (digits, 2)
        } else {
            (text, 10)
        };
        // A sign would be taken by the conversion.
        let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
        let number = u32::from_str_radix(digits, radix).ok();
        number.filter(|_| plain).map(Self).ok_or_else(|| NoNumber {
            text: text.to_owned(),
            what: "the number of a register; it must have 32 bits, written like 0x10a, 0b1010 or 266",
        })
    }
}

impl FromStr for KvmCapability {
    type Err = NoNumber;

    fn from_str(text: &str) -> Result<Self, NoNumber> {
        let (digits, kind): (_, fn(u32) -> Self) = match text.strip_prefix('!') {
            Some(digits) => (digits, Self::NotRequired),
            None => (text, Self::Required),
        };
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        let number = digits.parse().ok();
        number.filter(|_| plain).map(kind).ok_or_else(|| NoNumber {
            text: text.to_owned(),
            what: "a capability of KVM; it must be its number, such as 121, or !121 if KVM need not have it",
        })
    }
}

impl TryFrom<String> for RegisterNumber {
    type Error = NoNumber;

    fn try_from(text: String) -> Result<Self, NoNumber> {
        text.parse()
    }
}

impl From<RegisterNumber> for String {
    fn from(number: RegisterNumber) -> Self {
        format!("{:#x}", number.0)
    }
}

impl TryFrom<String> for KvmCapability {
    type Error = NoNumber;

    fn try_from(text: String) -> Result<Self, NoNumber> {
        text.parse()
    }
}

impl From<KvmCapability> for String {
    fn from(capability: KvmCapability) -> Self {
        match capability {
            KvmCapability::Required(number) => number.to_string(),
            KvmCapability::NotRequired(number) => format!("!{number}"),
        }
    }
}
