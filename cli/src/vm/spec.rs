//! The options that say what a microVM is to be.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::ValueEnum;
use hull_engine::network::Publication;
use hull_engine::parse_size;
use hull_engine::plain::{
    ConsoleKind, DiskSpec, MicroVms, NetSpec, Owned, RootSpec, ShareSpec, VmChanges, VmError,
    VmName, VmSpec,
};

/// What `hull vm run` and `hull vm create` have in common.
#[derive(Debug, clap::Args)]
pub(super) struct SpecArgs {
    /// The name; a random one if not given
    #[arg(long)]
    name: Option<VmName>,
    /// Go on from a snapshot (hull vm snapshot), with copies of its disks. What it is comes from there, but for --name, --net and --publish:
    /// as many --net as it has interfaces, each tap=NAME, unplugged, or what it was
    #[arg(
        long,
        value_name = "SNAPSHOT",
        conflicts_with_all = [
            "kernel", "initrd", "disks", "root", "dns", "shares", "cpus", "memory", "console", "cmdline", "raw_cmdline"
        ]
    )]
    from: Option<String>,
    /// An ELF vmlinux or a bzImage; Hull's own kernel if not given
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// An initramfs; for Hull's own kernel it must not be compressed
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// A raw disk image or a block device; can be given several times. On the first is the root: in the partition that says so,
    /// or the largest one of Linux, or without partitions all of it
    #[arg(long = "disk", value_name = "PATH[:ro]")]
    disks: Vec<DiskSpec>,
    /// The root, where that is not so: the number of the first disk's partition, or what root= takes
    #[arg(long, value_name = "PARTITION", conflicts_with = "raw_cmdline")]
    root: Option<RootSpec>,
    /// A network interface; can be given several times. NETWORK[,ip=ADDRESS][,mac=MAC][,mtu=BYTES][,queues=N] is in a network
    /// (hull network ls; the network bridge is always there), tap=NAME[,mac=..][,mtu=..][,queues=N] has a TAP device that exists,
    /// user[,ip=..][,mac=..][,mtu=..] has the host's network without any privilege, by the program passt; unplugged has no cable in it; none is
    /// none
    #[arg(long = "net", visible_alias = "network", value_name = "NET")]
    networks: Vec<NetSpec>,
    /// A port of the host that is the guest's, such as 8080:80, 127.0.0.1:5353:53/udp or 8000-8010:80-90; can be given several times.
    /// Without --net, the guest gets the network bridge, or user if this is not run by root
    #[arg(short, long, value_name = "[IP:]HOST:GUEST[/udp]")]
    publish: Vec<Publication>,
    /// A server of names that the guest is told by DHCP; the host's if not given
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<Ipv4Addr>,
    /// A directory, mounted in the guest by mount -t virtiofs TAG /mnt; can be given several times. Without a disk and an
    /// initramfs the first one is the root
    #[arg(long = "share", value_name = "DIR:TAG[:ro]")]
    shares: Vec<ShareSpec>,
    /// How many vCPUs
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: u8,
    /// How much memory, such as 512m or 2g; the host gives it page by page, as the guest touches it
    #[arg(short, long, value_name = "SIZE", default_value = "512m", value_parser = parse_size)]
    memory: u64,
    /// What the guest's console is: hvc0, or the serial port, which is slower and there from the kernel's first line on
    #[arg(
        long,
        value_enum,
        value_name = "KIND",
        num_args = 0..=1,
        default_value_t = Console::Virtio,
        default_missing_value = "virtio"
    )]
    console: Console,
    /// Words for the kernel's command line, behind those that this host and the console need
    #[arg(
        long,
        value_name = "WORDS",
        default_value = "",
        allow_hyphen_values = true
    )]
    cmdline: String,
    /// Tell the kernel nothing but --cmdline and where its devices are
    #[arg(long)]
    raw_cmdline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Console {
    Virtio,
    Serial,
    None,
}

impl SpecArgs {
    /// Makes the microVM.
    pub(super) fn make(self, vms: &MicroVms, auto_remove: bool) -> Result<Owned, VmError> {
        if let Some(snapshot) = self.from {
            let changes = VmChanges {
                name: self.name,
                auto_remove,
                networks: self.networks,
                publish: self.publish,
            };
            return vms.make_from(&snapshot, changes);
        }
        let spec = VmSpec {
            kernel: self.kernel,
            initrd: self.initrd,
            disks: self.disks,
            root: self.root,
            networks: self.networks,
            publish: self.publish,
            dns: self.dns,
            shares: self.shares,
            cpus: self.cpus,
            memory_mib: self.memory.div_ceil(1 << 20),
            console: match self.console {
                Console::Virtio => ConsoleKind::Virtio,
                Console::Serial => ConsoleKind::Serial,
                Console::None => ConsoleKind::None,
            },
            cmdline: self.cmdline,
            raw_cmdline: self.raw_cmdline,
        };
        vms.make(self.name, spec, auto_remove)
    }
}
