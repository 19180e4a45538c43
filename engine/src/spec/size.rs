//! How large a machine is: CPUs and memory as they are typed, and what the microVM gets for them.

use hull_vm_api::config::MachineConfig;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::host::Capacity;

const MIB: u64 = 1 << 20;
/// Docker's smallest `--memory`.
const LEAST_MEMORY: u64 = 6 * MIB;
/// What a guest needs to start with, in MiB, however little its container may use.
const LEAST_MACHINE: u64 = 64;
/// The smallest machines that share a template, in MiB.
const LEAST_CLASS: u64 = 128;
/// The most vCPUs that a microVM can have.
const MOST_CPUS: u32 = 32;
const BILLION: u64 = 1_000_000_000;
/// The period in which a quota of processor time counts, in microseconds.
pub(crate) const CPU_PERIOD_US: u64 = 100_000;

/// An option of size that cannot be honoured.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidSize {
    /// The text is no size.
    #[error("invalid --memory {0:?}: a number with b, k, m or g behind it is expected, as in 512m")]
    MemoryText(String),
    /// Below Docker's minimum.
    #[error("--memory {0} is too small: Minimum memory limit allowed is 6MB")]
    MemoryTooSmall(String),
    /// More than the host has.
    #[error("--memory {asked} MiB is more than this host has ({available} MiB): ask for less")]
    MemoryTooLarge {
        /// What was asked for, in MiB.
        asked: u64,
        /// What the host has, in MiB.
        available: u64,
    },
    /// The text is no number of CPUs.
    #[error("invalid --cpus {0:?}: a number such as 2 or 0.5 is expected")]
    CpusText(String),
    /// Too few or too many.
    #[error(
        "--cpus {asked} is out of range: range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"
    )]
    CpusRange {
        /// What was asked for.
        asked: String,
        /// What the host has, or a microVM can have.
        available: u32,
    },
}

/// A limit that a machine which runs has no room for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum TooLarge {
    #[error(
        "its microVM has {machine} MiB of memory, its kernel's included, and cannot get more while it runs: update the container when it is stopped"
    )]
    Memory { machine: u64 },
    #[error(
        "its microVM has {machine} CPUs, and cannot get more while it runs: update the container when it is stopped"
    )]
    Cpus { machine: u32 },
}

/// Reads `512m`, `1g`, `1.5GiB`, `6291456`: bytes, or with a unit of 1024's powers as Docker takes it.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let invalid = || InvalidSize::MemoryText(text.to_owned());
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift: u32 = match lower.get(digits.len()..).ok_or_else(invalid)? {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(invalid()),
    };
    scaled(digits.trim_end(), 1_u64 << shift).ok_or_else(invalid)
}

/// Reads `2` or `0.5` into billionths of a CPU.
pub fn parse_cpus(text: &str) -> Result<u64, InvalidSize> {
    scaled(text.trim(), BILLION).ok_or_else(|| InvalidSize::CpusText(text.to_owned()))
}

/// A decimal number times `unit`, exactly, rounded down; `None` for anything else or too large.
fn scaled(decimal: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction = fraction.get(..fraction.len().min(12))?;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let part = u64::try_from(part * u128::from(unit) / scale).ok()?;
    whole.checked_mul(unit)?.checked_add(part)
}

/// A microVM's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shape {
    /// vCPUs.
    pub(crate) cpus: u32,
    /// The machine's memory in MiB.
    pub(crate) memory_mib: u64,
    /// The container's limit in bytes, where one was asked for.
    pub(crate) memory_limit: Option<u64>,
    /// Processor time in microseconds for each 100 ms, where it is less than the vCPUs'.
    pub(crate) cpu_quota_us: Option<u64>,
}

impl Shape {
    /// The same machine with other limits of its container. Zero is none.
    ///
    /// # Errors
    /// The machine is too small for them: it cannot grow while it runs.
    pub(crate) fn limited(
        self,
        memory: Option<u64>,
        nano_cpus: Option<u64>,
    ) -> Result<Self, TooLarge> {
        let memory_limit = memory.filter(|bytes| *bytes > 0);
        if let Some(bytes) = memory_limit
            && memory != self.memory_limit
            && with_kernel(bytes.div_ceil(MIB)) > self.memory_mib
        {
            let machine = self.memory_mib;
            return Err(TooLarge::Memory { machine });
        }
        let all = u64::from(self.cpus) * CPU_PERIOD_US;
        let quota = nano_cpus.filter(|nano| *nano > 0);
        let quota = quota.map(|nano| {
            u64::try_from(u128::from(nano) * u128::from(CPU_PERIOD_US) / u128::from(BILLION))
        });
        let cpu_quota_us = match quota.transpose() {
            Ok(Some(quota)) if quota < all => Some(quota),
            Ok(Some(quota)) if quota > all => return Err(TooLarge::Cpus { machine: self.cpus }),
            Ok(_) => None,
            Err(_) => return Err(TooLarge::Cpus { machine: self.cpus }),
        };
        Ok(Self {
            memory_limit,
            cpu_quota_us,
            ..self
        })
    }

    /// Fits what was asked for to the host. Zero is no limit, as with Docker.
    ///
    /// A limit of memory is the container's, as with Docker; the machine gets so much more as the
    /// guest's kernel keeps for itself, so that the container can really use it, as far as the host has it; and then what
    /// makes it as large as others, so that they are clones of one template. Without a limit the machine is as large as the host where that costs nothing.
    pub(crate) fn fit(
        memory: Option<u64>,
        nano_cpus: Option<u64>,
        host: Capacity,
    ) -> Result<Self, InvalidSize> {
        let memory = memory.filter(|bytes| *bytes > 0);
        let (cpus, cpu_quota_us) = match nano_cpus.filter(|nano| *nano > 0) {
            Some(nano) => fit_cpus(nano, host)?,
            None => (host.default_cpus(), None),
        };
        let memory_mib = match memory {
            Some(bytes) if bytes < LEAST_MEMORY => {
                return Err(InvalidSize::MemoryTooSmall(format!("{bytes} bytes")));
            }
            Some(bytes) => {
                let (asked, available) = (bytes.div_ceil(MIB), host.most_memory_mib());
                if asked > available {
                    return Err(InvalidSize::MemoryTooLarge { asked, available });
                }
                class(with_kernel(asked)).min(available.max(LEAST_MACHINE))
            }
            None => host.default_memory_mib(),
        };
        Ok(Self {
            cpus,
            memory_mib,
            memory_limit: memory,
            cpu_quota_us,
        })
    }
}

impl Capacity {
    /// Without `--cpus`: all, as with Docker. Where the guest's kernel is emulated, each further
    /// vCPU costs a noticeable part of the boot and buys little, so there it is one.
    fn default_cpus(self) -> u32 {
        if self.fast {
            self.cpus.clamp(1, MOST_CPUS)
        } else {
            1
        }
    }

    /// Without `--memory`: what the host has; pages are only taken when they are touched. The guest's
    /// kernel must write a descriptor for each page at boot, which an emulator makes slow, so
    /// there it is 512 MiB.
    fn default_memory_mib(self) -> u64 {
        if self.fast {
            self.most_memory_mib()
        } else {
            self.most_memory_mib().min(512)
        }
    }

    /// The largest machine in MiB: the host, or what a microVM can have.
    fn most_memory_mib(self) -> u64 {
        self.memory_mib.min(MachineConfig::MAX_MEMORY_MIB)
    }
}

fn fit_cpus(nano: u64, host: Capacity) -> Result<(u32, Option<u64>), InvalidSize> {
    let available = host.cpus.min(MOST_CPUS);
    let range = || InvalidSize::CpusRange {
        asked: decimal(nano),
        available,
    };
    let whole = u32::try_from(nano.div_ceil(BILLION)).map_err(|_| range())?;
    if nano < BILLION / 100 || whole > available {
        return Err(range());
    }
    let quota = (!nano.is_multiple_of(BILLION)).then_some(nano / 10_000);
    Ok((whole, quota))
}

/// Billionths of a CPU as a decimal number.
fn decimal(nano: u64) -> String {
    let text = format!("{}.{:09}", nano / BILLION, nano % BILLION);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The machine's memory for a container's limit, both in MiB. The kernel's image takes 12 MiB or so,
/// and each page of 4 KiB has a descriptor of 64 bytes: what is left is what was asked for.
fn with_kernel(limit_mib: u64) -> u64 {
    (limit_mib + 12 + limit_mib / 64).max(LEAST_MACHINE)
}

/// The size of the machines that a machine of so much memory can share a template with, in MiB: four between a power of two and the
/// next, so that no machine is more than a quarter larger than it need be.
fn class(memory_mib: u64) -> u64 {
    let step = (memory_mib.next_power_of_two() / 8).max(1);
    memory_mib.next_multiple_of(step).max(LEAST_CLASS)
}

#[cfg(test)]
mod tests;
