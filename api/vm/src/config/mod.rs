//! The configuration of one microVM: one model, for the JSON file in the shape of Firecracker's and for the bodies of the API.
//!
//! Sections are kebab-case, fields snake_case, and a field that is not known here is an error: nothing that a user
//! says is ignored. [`VmConfig::parse`] checks everything that can be known without opening a file.

mod boot_source;
mod change;
pub mod cpu;
mod drive;
mod entropy;
mod error;
pub(crate) mod id;
mod logger;
mod machine;
mod memory;
mod metrics;
mod mmds;
mod named;
pub(crate) mod network;
mod number;
pub(crate) mod path;
mod pmem;
mod rate_limiter;
mod repoint;
mod share;
mod streams;
pub(crate) mod strict;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use boot_source::{BootSection, BootSource};
pub use cpu::{CpuConfig, CpuSection};
pub(crate) use drive::DRIVES;
pub use drive::{CacheType, Drive, DriveUpdate, IoEngine};
pub use entropy::Entropy;
pub use error::ConfigError;
pub use logger::{Level, Logger, UnknownLevel};
pub use machine::{CpuTemplate, HugePages, MachineConfig, MachineUpdate, Reboot};
pub use memory::{
    Balloon, BalloonStatsUpdate, BalloonUpdate, HintingStart, MemoryHotplug, MemoryHotplugUpdate,
};
pub use metrics::{Metrics, MetricsFormat};
pub use mmds::{MmdsConfig, MmdsVersion};
pub use named::{NamedPath, PathUse};
pub(crate) use network::INTERFACES;
pub use network::{
    DhcpLease, LinkState, MacAddress, NetworkBackend, NetworkInterface, NetworkUpdate, NoMacAddress,
};
pub use path::{HostPath, NotUtf8};
pub(crate) use pmem::PMEM;
pub use pmem::{Pmem, PmemUpdate};
pub use rate_limiter::{RateLimiter, TokenBucket};
pub(crate) use share::SHARES;
pub use share::{Share, ShareCache};
pub use streams::{Console, ConsoleUpdate, Serial, Vsock};

/// The most virtio devices of a microVM: each needs one of the 24 lines of the I/O APIC, and a PC's own devices have five.
pub const MAX_DEVICES: usize = 19;

/// Everything about one microVM.
///
/// `B` says whether there is a boot source for certain. There is in a file, and in what a machine is started from; there may be
/// none in a [`Draft`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    deny_unknown_fields,
    bound(
        serialize = "B: Serialize + BootSection",
        deserialize = "B: Deserialize<'de>"
    )
)]
pub struct VmConfig<B = BootSource> {
    /// What the guest boots.
    #[serde(skip_serializing_if = "BootSection::is_absent")]
    pub boot_source: B,
    /// Disks, in the order of the guest's names (`vda`, `vdb`, ...), except that the root disk always comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drives: Vec<Drive>,
    /// vCPUs and memory.
    #[serde(default)]
    pub machine_config: MachineConfig,
    /// What the vCPUs look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_config: Option<CpuSection>,
    /// Files as memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pmem: Vec<Pmem>,
    /// Network interfaces, in the order of the guest's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_interfaces: Vec<NetworkInterface>,
    /// Directories of the host. Hull's own section.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<Share>,
    /// The socket device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsock: Option<Vsock>,
    /// The random number device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<Entropy>,
    /// The balloon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balloon: Option<Balloon>,
    /// Memory that can be plugged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_hotplug: Option<MemoryHotplug>,
    /// The metadata service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mmds_config: Option<MmdsConfig>,
    /// The VMM's own log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logger: Option<Logger>,
    /// The VMM's own figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// A 16550 at COM1, there only when this section is. Hull's own section: Firecracker has it in its API alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// A virtio console (`hvc0`), there only when this section is. Hull's own section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<Console>,
}

/// A configuration that may lack its boot source: before the start because nobody has said it yet, and afterwards for a machine
/// that was restored and never booted.
pub type Draft = VmConfig<Option<BootSource>>;

impl VmConfig {
    /// A machine with the default size and no devices.
    #[must_use]
    pub fn new(boot_source: BootSource) -> Self {
        Draft::default().map_boot_source(|_| boot_source)
    }

    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// What was wrong, in a sentence.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = strict::from_slice(json)?;
        config.validate()?;
        Ok(config)
    }
}

impl<B> VmConfig<B> {
    /// The same with another boot source, made from its own.
    #[must_use]
    pub fn map_boot_source<C>(self, map: impl FnOnce(B) -> C) -> VmConfig<C> {
        VmConfig {
            boot_source: map(self.boot_source),
            drives: self.drives,
            machine_config: self.machine_config,
            cpu_config: self.cpu_config,
            pmem: self.pmem,
            network_interfaces: self.network_interfaces,
            shares: self.shares,
            vsock: self.vsock,
            entropy: self.entropy,
            balloon: self.balloon,
            memory_hotplug: self.memory_hotplug,
            mmds_config: self.mmds_config,
            logger: self.logger,
            metrics: self.metrics,
            serial: self.serial,
            console: self.console,
        }
    }

    /// The drives in the guest's order: the root disk first.
    pub fn drives_in_order(&self) -> impl Iterator<Item = &Drive> {
        let root = self.drives.iter().filter(|drive| drive.is_root_device);
        root.chain(self.drives.iter().filter(|drive| !drive.is_root_device))
    }
}

impl From<VmConfig> for Draft {
    fn from(config: VmConfig) -> Self {
        config.map_boot_source(Some)
    }
}

impl<B: BootSection> VmConfig<B> {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// What was wrong, in a sentence.
    pub fn validate(&self) -> Result<(), ConfigError> {
        fn each<T>(
            sections: impl IntoIterator<Item = T>,
            check: impl Fn(T) -> Result<(), ConfigError>,
        ) -> Result<(), ConfigError> {
            sections.into_iter().try_for_each(check)
        }
        self.machine_config.validate()?;
        each(self.boot_source.section(), BootSource::validate)?;
        each(&self.cpu_config, CpuSection::validate)?;
        each(&self.drives, Drive::validate)?;
        each(&self.pmem, Pmem::validate)?;
        each(&self.network_interfaces, NetworkInterface::validate)?;
        each(&self.shares, Share::validate)?;
        each(&self.vsock, Vsock::validate)?;
        each(&self.entropy, Entropy::validate)?;
        let memory = self.machine_config.mem_size_mib;
        each(&self.balloon, |balloon| balloon.validate(memory))?;
        each(&self.memory_hotplug, MemoryHotplug::validate)?;
        each(&self.logger, Logger::validate)?;
        each(&self.metrics, Metrics::validate)?;
        each(&self.serial, Serial::validate)?;
        each(&self.console, Console::validate)?;
        self.validate_together()
    }

    /// Checks the sections against each other.
    fn validate_together(&self) -> Result<(), ConfigError> {
        let interfaces = &self.network_interfaces;
        let names: Vec<_> = interfaces.iter().map(|i| i.iface_id.as_str()).collect();
        DRIVES.check_all(self.drives.iter().map(|d| d.drive_id.as_str()))?;
        PMEM.check_all(self.pmem.iter().map(|p| p.id.as_str()))?;
        INTERFACES.check_all(names.iter().copied())?;
        SHARES.check_all(self.shares.iter().map(|s| s.tag.as_str()))?;
        self.validate_places()?;
        self.validate_roots()?;
        self.validate_cpus()?;
        self.validate_hotplug()?;
        for (index, interface) in interfaces.iter().enumerate() {
            let mac = interface.guest_mac;
            if let Some(mac) = mac
                && interfaces[..index].iter().any(|i| i.guest_mac == Some(mac))
            {
                return Err(ConfigError::conflict(format!(
                    "network-interfaces: the MAC address is already in use: {mac}; each interface needs one of its own"
                )));
            }
        }
        match &self.mmds_config {
            Some(mmds) => mmds.validate(&names),
            None => Ok(()),
        }
    }

    /// Each device has a place of its own, with an interrupt line; there are no more lines.
    fn validate_places(&self) -> Result<(), ConfigError> {
        let single = [
            self.vsock.is_some(),
            self.console.is_some(),
            self.entropy.is_some(),
            self.balloon.is_some(),
            self.memory_hotplug.is_some(),
        ];
        let count = self.drives.len()
            + self.pmem.len()
            + self.network_interfaces.len()
            + self.shares.len()
            + single.iter().filter(|there| **there).count();
        if count > MAX_DEVICES {
            let most = MAX_DEVICES;
            return Err(ConfigError::TooManyDevices { count, most });
        }
        Ok(())
    }

    fn validate_cpus(&self) -> Result<(), ConfigError> {
        let template = self.machine_config.cpu_template;
        if template != CpuTemplate::None && self.cpu_config.is_some() {
            return Err(ConfigError::conflict(format!(
                "machine-config.cpu_template is {template:?}, and cpu-config is there as well; only one can say what the CPUs look like",
            )));
        }
        Ok(())
    }

    fn validate_hotplug(&self) -> Result<(), ConfigError> {
        let reserved = self.machine_config.huge_pages == HugePages::Hugetlbfs2M;
        if reserved && self.memory_hotplug.is_some() {
            return Err(ConfigError::conflict(
                "memory-hotplug does not go with machine-config.huge_pages 2M: pages of 2 MiB would have to be reserved for all of it, \
                 plugged in or not; make huge_pages Transparent, or leave memory-hotplug out",
            ));
        }
        Ok(())
    }

    fn validate_roots(&self) -> Result<(), ConfigError> {
        let drives = self.drives.iter().filter(|drive| drive.is_root_device);
        let pmem = self.pmem.iter().filter(|pmem| pmem.root_device);
        let mut roots = drives
            .map(|drive| ("drives", &drive.drive_id))
            .chain(pmem.map(|pmem| ("pmem", &pmem.id)));
        match (roots.next(), roots.next()) {
            (Some((section, first)), Some((other, second))) => {
                let whose = if section == other {
                    String::new()
                } else {
                    format!(" of {other}")
                };
                Err(ConfigError::conflict(format!(
                    "{section}: {first:?} and {second:?}{whose} both say that they are the root device; only one can"
                )))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

fn is_one(value: &u8) -> bool {
    *value == 1
}
