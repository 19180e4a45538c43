//! vCPUs and memory.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::number::{in_range, number, optional};

/// The size and shape of the machine. Without the section: one vCPU and 128 MiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineConfig {
    /// 1 to [`MachineConfig::MAX_VCPUS`].
    #[serde(deserialize_with = "number::<_, _, 1, { MachineConfig::MAX_VCPUS as u64 }>")]
    pub vcpu_count: u8,
    /// In MiB, from [`MachineConfig::MIN_MEMORY_MIB`]. The host gives it page by page, as the guest touches it.
    #[serde(
        deserialize_with = "number::<_, _, { MachineConfig::MIN_MEMORY_MIB }, { MachineConfig::MAX_MEMORY_MIB }>"
    )]
    pub mem_size_mib: u64,
    /// Whether two vCPUs at a time are threads of one core, to the guest.
    #[serde(default)]
    pub smt: bool,
    /// One of Firecracker's own CPU templates; deprecated by it in favour of `cpu-config`.
    #[serde(default, skip_serializing_if = "CpuTemplate::is_none")]
    pub cpu_template: CpuTemplate,
    /// Note which pages the guest writes, from the start.
    #[serde(default)]
    pub track_dirty_pages: bool,
    /// What the guest's memory is made of on the host.
    #[serde(default)]
    pub huge_pages: HugePages,
    /// Get all of `mem_size_mib` from the host before the start, so that the guest never waits for it. Hull's own field.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub prefault: bool,
    /// For each vCPU the numbers of the host's CPUs that it may run on; empty for no such limits. Hull's own field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpu_affinity: Vec<Vec<u16>>,
    /// What a reboot of the guest does. Hull's own field.
    #[serde(default, skip_serializing_if = "Reboot::is_exit")]
    pub reboot: Reboot,
}

/// A CPU template that Firecracker has built in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuTemplate {
    /// As much of the host's CPU as KVM can give.
    #[default]
    None,
    /// Intel: C3 instances of EC2.
    C3,
    /// Intel: T2 instances of EC2.
    T2,
    /// Intel: T2, and the same on several generations.
    T2S,
    /// Intel: as close as possible to `T2A`.
    T2CL,
    /// AMD: as close as possible to `T2CL`.
    T2A,
    /// ARM: Neoverse V1 as N1.
    V1N1,
}

/// What the guest's memory is made of on the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HugePages {
    /// Pages as the host gives them by default.
    #[default]
    None,
    /// Transparent huge pages wherever the host finds some (`MADV_HUGEPAGE`).
    Transparent,
    /// Reserved pages of 2 MiB (hugetlbfs).
    #[serde(rename = "2M")]
    Hugetlbfs2M,
}

/// What a reboot of the guest does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reboot {
    /// It ends the microVM, as with Firecracker.
    #[default]
    Exit,
    /// The microVM boots again, from its boot source.
    Restart,
}

/// A change of the machine before its start: what is given replaces what was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineUpdate {
    /// See [`MachineConfig::vcpu_count`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional::<_, _, 1, { MachineConfig::MAX_VCPUS as u64 }>"
    )]
    pub vcpu_count: Option<u8>,
    /// See [`MachineConfig::mem_size_mib`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional::<_, _, { MachineConfig::MIN_MEMORY_MIB }, { MachineConfig::MAX_MEMORY_MIB }>"
    )]
    pub mem_size_mib: Option<u64>,
    /// See [`MachineConfig::smt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smt: Option<bool>,
    /// See [`MachineConfig::cpu_template`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_template: Option<CpuTemplate>,
    /// See [`MachineConfig::track_dirty_pages`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track_dirty_pages: Option<bool>,
    /// See [`MachineConfig::huge_pages`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub huge_pages: Option<HugePages>,
    /// See [`MachineConfig::prefault`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefault: Option<bool>,
    /// See [`MachineConfig::cpu_affinity`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_affinity: Option<Vec<Vec<u16>>>,
    /// See [`MachineConfig::reboot`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<Reboot>,
}

impl MachineConfig {
    /// As many as the topology, the tables and the tests know of.
    pub const MAX_VCPUS: u8 = 32;
    /// Less does not hold a kernel and its initramfs.
    pub const MIN_MEMORY_MIB: u64 = 32;
    /// 1 TiB without the hole below 4 GiB: what 40 bits of physical address hold.
    pub const MAX_MEMORY_MIB: u64 = (1 << 20) - (1 << 10);
    /// The highest number of a host's CPU: what Linux can be built for (`NR_CPUS`).
    pub const MAX_HOST_CPU: u16 = 8191;

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        check_vcpus(self.vcpu_count)?;
        check_memory(self.mem_size_mib)?;
        if self.smt && self.vcpu_count > 1 && !self.vcpu_count.is_multiple_of(2) {
            return Err(ConfigError::conflict(format!(
                "machine-config.smt needs an even vcpu_count, and {} is odd; leave smt out or add a vCPU",
                self.vcpu_count
            )));
        }
        if self.huge_pages == HugePages::Hugetlbfs2M && !self.mem_size_mib.is_multiple_of(2) {
            return Err(ConfigError::conflict(format!(
                "machine-config.huge_pages is 2M, but mem_size_mib {} is odd; make it a multiple of 2",
                self.mem_size_mib
            )));
        }
        if self.cpu_template == CpuTemplate::V1N1 {
            return Err(ConfigError::Value {
                field: "machine-config.cpu_template",
                value: "V1N1".to_owned(),
                must: "a template for x86-64; V1N1 is one for ARM",
            });
        }
        self.validate_affinity()
    }

    fn validate_affinity(&self) -> Result<(), ConfigError> {
        let lists = &self.cpu_affinity;
        if lists.is_empty() {
            return Ok(());
        }
        if lists.len() != usize::from(self.vcpu_count) {
            return Err(ConfigError::conflict(format!(
                "machine-config.cpu_affinity has {} lists for {} vCPUs; it must have one for each",
                lists.len(),
                self.vcpu_count
            )));
        }
        for (vcpu, list) in lists.iter().enumerate() {
            if list.is_empty() {
                return Err(ConfigError::conflict(format!(
                    "machine-config.cpu_affinity leaves vCPU {vcpu} no CPU of the host; list at least one"
                )));
            }
        }
        check_cpus(lists)
    }

    /// Takes over what an update names.
    pub(crate) fn update(&mut self, update: MachineUpdate) {
        fn put<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        put(&mut self.vcpu_count, update.vcpu_count);
        put(&mut self.mem_size_mib, update.mem_size_mib);
        put(&mut self.smt, update.smt);
        put(&mut self.cpu_template, update.cpu_template);
        put(&mut self.track_dirty_pages, update.track_dirty_pages);
        put(&mut self.huge_pages, update.huge_pages);
        put(&mut self.prefault, update.prefault);
        put(&mut self.cpu_affinity, update.cpu_affinity);
        put(&mut self.reboot, update.reboot);
    }
}

impl MachineUpdate {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.vcpu_count.map_or(Ok(()), check_vcpus)?;
        self.mem_size_mib.map_or(Ok(()), check_memory)?;
        check_cpus(self.cpu_affinity.as_deref().unwrap_or_default())
    }
}

fn check_vcpus(count: u8) -> Result<(), ConfigError> {
    let most = u64::from(MachineConfig::MAX_VCPUS);
    in_range("machine-config.vcpu_count", count, 1, most)
}

fn check_memory(mib: u64) -> Result<(), ConfigError> {
    let (least, most) = (MachineConfig::MIN_MEMORY_MIB, MachineConfig::MAX_MEMORY_MIB);
    in_range("machine-config.mem_size_mib", mib, least, most)
}

fn check_cpus(lists: &[Vec<u16>]) -> Result<(), ConfigError> {
    let most = u64::from(MachineConfig::MAX_HOST_CPU);
    let mut cpus = lists.iter().flatten();
    cpus.try_for_each(|cpu| in_range("machine-config.cpu_affinity", *cpu, 0, most))
}

impl CpuTemplate {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Reboot {
    fn is_exit(&self) -> bool {
        *self == Self::Exit
    }
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            vcpu_count: 1,
            mem_size_mib: 128,
            smt: false,
            cpu_template: CpuTemplate::None,
            track_dirty_pages: false,
            huge_pages: HugePages::None,
            prefault: false,
            cpu_affinity: Vec::new(),
            reboot: Reboot::Exit,
        }
    }
}
