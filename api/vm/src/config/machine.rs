//! vCPUs and memory.

use serde::{Deserialize, Serialize};

use super::{ConfigError, in_range};

/// The size and shape of the machine. Without the section: one vCPU and 128 MiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineConfig {
    /// 1 to [`MachineConfig::MAX_VCPUS`].
    pub vcpu_count: u8,
    /// In MiB, from [`MachineConfig::MIN_MEMORY_MIB`]. The host gives it page by page, as the guest touches it.
    pub mem_size_mib: u64,
    /// Whether two vCPUs at a time are threads of one core, to the guest.
    #[serde(default)]
    pub smt: bool,
    /// Note which pages the guest writes, from the start.
    #[serde(default)]
    pub track_dirty_pages: bool,
    /// What the guest's memory is made of on the host.
    #[serde(default)]
    pub huge_pages: HugePages,
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

impl MachineConfig {
    /// As many as the topology, the tables and the tests know of.
    pub const MAX_VCPUS: u8 = 32;
    /// Less does not hold a kernel and its initramfs.
    pub const MIN_MEMORY_MIB: u64 = 32;
    /// 1 TiB without the hole below 4 GiB: what 40 bits of physical address hold.
    pub const MAX_MEMORY_MIB: u64 = (1 << 20) - (1 << 10);

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let count = u64::from(self.vcpu_count);
        let most = u64::from(Self::MAX_VCPUS);
        in_range("machine-config.vcpu_count", count, 1, most)?;
        let (least, most) = (Self::MIN_MEMORY_MIB, Self::MAX_MEMORY_MIB);
        in_range(
            "machine-config.mem_size_mib",
            self.mem_size_mib,
            least,
            most,
        )?;
        if self.smt && !self.vcpu_count.is_multiple_of(2) {
            return Err(ConfigError::OddThreads(self.vcpu_count));
        }
        if self.huge_pages == HugePages::Hugetlbfs2M && !self.mem_size_mib.is_multiple_of(2) {
            return Err(ConfigError::OddHugePages(self.mem_size_mib));
        }
        Ok(())
    }
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            vcpu_count: 1,
            mem_size_mib: 128,
            smt: false,
            track_dirty_pages: false,
            huge_pages: HugePages::None,
        }
    }
}
