//! What a person says a plain microVM is to be, and the configuration that its VMM gets.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hull_vm_api::config::{
    BootSource, Console, Drive, Entropy, HostPath, MachineConfig, NetworkInterface, Serial, Share,
};
use hull_vm_api::{HostProfile, VmConfig};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::net::{NetSpec, NetTarget};
use super::root::RootSpec;
use super::{SpecError, VmError, kind, partition, wire};
use crate::Error;
use crate::network::{DEFAULT_NETWORK, MacAddress, Publication, host_resolvers};
use crate::programs::find_guest;

/// What every Linux is told: a reboot and a panic end the machine, and nothing that the VMM knows is measured.
const ARGUMENTS: &str = "reboot=k panic=-1 no_timer_check tsc=reliable";
/// What Hull's own kernel is told besides, which needs neither.
const OWN_ARGUMENTS: &str = "pci=off";
/// The same, unless somebody says otherwise.
const WITHOUT_ACPI: &str = "acpi=off";

/// A plain microVM. Paths are absolute, so that whoever starts it may be anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// An ELF `vmlinux` or a `bzImage`; without it Hull's own kernel.
    pub kernel: Option<PathBuf>,
    /// An initramfs.
    pub initrd: Option<PathBuf>,
    /// In the order of the guest's names. On the first is the root, unless there is an initramfs or a `root=`.
    pub disks: Vec<DiskSpec>,
    /// Which device is the root, where it is not found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<RootSpec>,
    /// Network interfaces, in the order of the guest's names.
    pub networks: Vec<NetSpec>,
    /// Ports of the host that are the guest's, by the first interface that can have them.
    #[serde(default)]
    pub publish: Vec<Publication>,
    /// Servers of names that the guest is told; the host's without them.
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
    /// Directories of the host.
    pub shares: Vec<ShareSpec>,
    /// vCPUs, from 1.
    pub cpus: u8,
    /// In MiB.
    pub memory_mib: u64,
    /// What the guest's console is.
    pub console: ConsoleKind,
    /// Appended to the kernel's command line.
    pub cmdline: String,
    /// `cmdline` is all that the kernel is told, but for what describes devices.
    pub raw_cmdline: bool,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    /// A file or a block device.
    pub path: PathBuf,
    /// The guest cannot write.
    pub read_only: bool,
}

/// A directory of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareSpec {
    /// The directory.
    pub path: PathBuf,
    /// What the guest mounts.
    pub tag: String,
    /// The guest cannot write.
    pub read_only: bool,
}

/// What the guest's console is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleKind {
    /// virtio-console, `hvc0` to Linux: both ways.
    #[default]
    Virtio,
    /// A 16550, `ttyS0` to Linux: both ways, from the kernel's first line on.
    Serial,
    /// Nothing.
    None,
}

/// How large a terminal is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScreenSize {
    /// Lines, from 1.
    pub rows: u16,
    /// Characters in a line, from 1.
    pub columns: u16,
}

/// The VMM's ends of the console's pipes, and the size of the terminal behind them, if there is one.
#[derive(Debug)]
pub(crate) struct ConsoleEnds {
    pub(crate) output: OwnedFd,
    pub(crate) input: OwnedFd,
    pub(crate) size: Option<ScreenSize>,
}

/// Disks that are open and locked.
#[derive(Debug)]
pub(crate) struct Opened {
    /// As descriptors that the VMM gets.
    pub(crate) named: Vec<(String, OwnedFd)>,
    /// The same files, for whoever wants to know what they are.
    pub(crate) disks: Vec<File>,
}

impl FromStr for DiskSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (path, read_only) = mode(text);
        if path.is_empty() {
            return Err(SpecError::Disk(text.to_owned()));
        }
        Ok(Self {
            path: path.into(),
            read_only,
        })
    }
}

impl FromStr for ShareSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (rest, read_only) = mode(text);
        match rest.rsplit_once(':') {
            Some((path, tag)) if !path.is_empty() && !tag.is_empty() => Ok(Self {
                path: path.into(),
                tag: tag.to_owned(),
                read_only,
            }),
            _ => Err(SpecError::Share(text.to_owned())),
        }
    }
}

/// Takes `:ro` or `:rw` from the end.
fn mode(text: &str) -> (&str, bool) {
    match (text.strip_suffix(":ro"), text.strip_suffix(":rw")) {
        (Some(path), _) => (path, true),
        (None, Some(path)) => (path, false),
        (None, None) => (text, false),
    }
}

impl VmSpec {
    /// Makes paths absolute, and finds out what is wrong without starting anything: sizes, files that are missing.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn checked(mut self) -> Result<Self, VmError> {
        range(
            "--cpus",
            self.cpus.into(),
            1,
            MachineConfig::MAX_VCPUS.into(),
        )?;
        let (least, most) = (MachineConfig::MIN_MEMORY_MIB, MachineConfig::MAX_MEMORY_MIB);
        range("--memory (in MiB)", self.memory_mib, least, most)?;
        if self.disks.is_empty() && self.initrd.is_none() && self.shares.is_empty() {
            return Err(SpecError::NoRoot.into());
        }
        let kernels = self.kernel.iter_mut().chain(&mut self.initrd);
        let disks = self.disks.iter_mut().map(|disk| &mut disk.path);
        let shares = self.shares.iter_mut().map(|share| &mut share.path);
        for path in kernels.chain(disks).chain(shares) {
            *path = std::path::absolute(&*path).map_err(Error::io("find", path.clone()))?;
            std::fs::metadata(&*path).map_err(Error::io("find", path.clone()))?;
        }
        for disk in &self.disks {
            kind::raw("disk", &disk.path)?;
        }
        if let (None, Some(initrd)) = (&self.kernel, &self.initrd) {
            kind::raw("initramfs", initrd)?;
        }
        self.check_networks()?;
        // What only the VMM knows about ids, tags and numbers of devices.
        let real = self.networks.iter().filter(|net| net.to != NetTarget::None);
        let interfaces = (0..)
            .zip(real)
            .map(|(index, net)| wire::interface(index, net));
        let interfaces = interfaces.collect();
        self.compose(None, String::new(), interfaces)?.validate()?;
        Ok(self)
    }

    /// Chooses what was left open of the network, so that it is the same at each start.
    fn check_networks(&mut self) -> Result<(), VmError> {
        if self.networks.is_empty() && !self.publish.is_empty() {
            let to = match rustix::process::geteuid().is_root() {
                true => NetTarget::Network(DEFAULT_NETWORK.to_owned()),
                false => NetTarget::User,
            };
            self.networks.push(NetSpec::new(to));
        }
        if !self.publish.is_empty() && !self.networks.iter().any(NetSpec::can_publish) {
            return Err(SpecError::Publish.into());
        }
        for net in &mut self.networks {
            if net.to != NetTarget::None && net.mac.is_none() {
                let mac = MacAddress::random().map_err(Error::io("read", "/dev/urandom"))?;
                net.mac = Some(mac);
            }
        }
        Ok(())
    }

    /// The servers of names that its guest asks.
    pub(crate) fn resolvers(&self) -> Vec<Ipv4Addr> {
        match self.dns.is_empty() {
            true => host_resolvers(),
            false => self.dns.clone(),
        }
    }

    /// The configuration of the machine and the descriptors that it names, but for those of its network.
    pub(crate) fn configuration(
        &self,
        profile: &HostProfile,
        console: ConsoleEnds,
        interfaces: Vec<NetworkInterface>,
    ) -> Result<(VmConfig, Vec<(String, OwnedFd)>), VmError> {
        let mut descriptors: Vec<(String, OwnedFd)> = Vec::new();
        let kernel = match &self.kernel {
            Some(kernel) => kernel.clone(),
            None => find_guest("vmlinux").map_err(Error::from)?,
        };
        descriptors.push(("kernel".to_owned(), open(&kernel, false)?.into()));
        if let Some(initrd) = &self.initrd {
            descriptors.push(("initrd".to_owned(), open(initrd, false)?.into()));
        }
        let Opened { named, disks } = self.open_disks()?;
        descriptors.extend(named);
        let mut root = None;
        if let (Some(file), Some(disk)) = (disks.first(), self.disks.first())
            && !self.names_its_root()
        {
            root = partition::root(file).map_err(Error::io("read", &disk.path))?;
        }
        descriptors.push(("output".to_owned(), console.output));
        descriptors.push(("input".to_owned(), console.input));
        let mut config = self.compose(root, self.boot_args(profile), interfaces)?;
        if let (Some(device), Some(size)) = (&mut config.console, console.size) {
            device.rows = Some(size.rows);
            device.columns = Some(size.columns);
        }
        config.validate()?;
        Ok((config, descriptors))
    }

    /// Opens the disks, each of which is either written by one machine or read by all that have it.
    pub(crate) fn open_disks(&self) -> Result<Opened, VmError> {
        let (mut named, mut disks) = (Vec::new(), Vec::new());
        for (index, disk) in self.disks.iter().enumerate() {
            let file = open(&disk.path, !disk.read_only)?;
            // Held by the description of the file, which the VMM gets: as long as it lives.
            let lock = match disk.read_only {
                true => FlockOperation::NonBlockingLockShared,
                false => FlockOperation::NonBlockingLockExclusive,
            };
            flock(file.as_fd(), lock).map_err(|_| VmError::DiskInUse(disk.path.clone()))?;
            let same = file.try_clone().map_err(Error::io("open", &disk.path))?;
            named.push((format!("disk{index}"), file.into()));
            disks.push(same);
        }
        Ok(Opened { named, disks })
    }

    /// With the PARTUUID of the first disk's partition that is the root, if it is a partition.
    fn compose(
        &self,
        root: Option<String>,
        boot_args: String,
        interfaces: Vec<NetworkInterface>,
    ) -> Result<VmConfig, SpecError> {
        // An initramfs without a root may need none.
        let has_root = !self.names_its_root() && (self.initrd.is_none() || root.is_some());
        let mut config = VmConfig::new(BootSource {
            kernel_image_path: HostPath::fd("kernel"),
            initrd_path: self.initrd.as_ref().map(|_| HostPath::fd("initrd")),
            boot_args: Some(boot_args),
        });
        config.machine_config = MachineConfig {
            vcpu_count: self.cpus,
            mem_size_mib: self.memory_mib,
            ..MachineConfig::default()
        };
        for (index, disk) in self.disks.iter().enumerate() {
            let mut drive = Drive::new(format!("disk{index}"));
            drive.path_on_host = Some(HostPath::fd(&drive.drive_id));
            drive.is_read_only = disk.read_only;
            drive.is_root_device = index == 0 && has_root;
            if drive.is_root_device {
                drive.partuuid.clone_from(&root);
            }
            // It is there after the machine is gone: what the guest flushes is to be on the disk.
            drive.cache_type = hull_vm_api::config::CacheType::Writeback;
            config.drives.push(drive);
        }
        config.network_interfaces = interfaces;
        for share in &self.shares {
            config.shares.push(Share {
                tag: share.tag.clone(),
                path: HostPath::try_from(share.path.as_path())?,
                read_only: share.read_only,
                cache: hull_vm_api::config::ShareCache::default(),
                queues: 1,
            });
        }
        config.entropy = Some(Entropy::default());
        match self.console {
            ConsoleKind::Virtio => {
                let mut console = Console::new(HostPath::fd("output"));
                console.input_path = Some(HostPath::fd("input"));
                config.console = Some(console);
            }
            ConsoleKind::Serial => {
                config.serial = Some(Serial {
                    serial_out_path: Some(HostPath::fd("output")),
                    serial_in_path: Some(HostPath::fd("input")),
                    ..Serial::default()
                });
            }
            ConsoleKind::None => {}
        }
        Ok(config)
    }

    /// Whether nothing is to be found out about the root.
    fn names_its_root(&self) -> bool {
        let mut words = self.cmdline.split_ascii_whitespace();
        self.raw_cmdline || self.root.is_some() || words.any(|word| word.starts_with("root="))
    }

    /// What the kernel is told of a root that is not the first disk's.
    fn root_words(&self) -> String {
        let mode = |read_only| if read_only { "ro" } else { "rw" };
        if let Some(root) = &self.root {
            let read_only = self.disks.first().is_some_and(|disk| disk.read_only);
            return format!("root={} {}", root.device(), mode(read_only));
        }
        match self.shares.first() {
            Some(share)
                if self.disks.is_empty() && self.initrd.is_none() && !self.names_its_root() =>
            {
                let (tag, mode) = (&share.tag, mode(share.read_only));
                format!("root={tag} rootfstype=virtiofs {mode}")
            }
            _ => String::new(),
        }
    }

    fn boot_args(&self, profile: &HostProfile) -> String {
        if self.raw_cmdline {
            return self.cmdline.clone();
        }
        let host = profile.kernel_args();
        let mut words = self.cmdline.split_ascii_whitespace();
        let (own, acpi) = match self.kernel {
            None if words.any(|word| word.starts_with("acpi=")) => (OWN_ARGUMENTS, ""),
            None => (OWN_ARGUMENTS, WITHOUT_ACPI),
            Some(_) => ("", ""),
        };
        let console = match self.console {
            ConsoleKind::Virtio => "console=hvc0 8250.nr_uarts=0",
            ConsoleKind::Serial => "console=ttyS0",
            ConsoleKind::None => "quiet 8250.nr_uarts=0",
        };
        let root = self.root_words();
        let mut words = vec![
            host.as_str(),
            ARGUMENTS,
            acpi,
            own,
            console,
            root.as_str(),
            self.cmdline.trim(),
        ];
        words.retain(|word| !word.is_empty());
        words.join(" ")
    }
}

fn open(path: &Path, writable: bool) -> Result<File, Error> {
    let file = File::options().read(true).write(writable).open(path);
    file.map_err(Error::io("open", path))
}

fn range(what: &'static str, value: u64, least: u64, most: u64) -> Result<(), SpecError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(SpecError::Range {
        what,
        value,
        least,
        most,
    })
}
