//! The configuration of a container's microVM, whether it boots or is a clone.
//!
//! Files and sockets are handed over as descriptors (`fd:NAME`), so that the VMM opens nothing itself. A clone knows them by the same
//! names as the machine that it is a clone of.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use hull_vm_api::VmConfig;
use hull_vm_api::config::{
    Balloon, BootSource, CacheType, Drive, Entropy, HostPath, MacAddress, MachineConfig,
    NetworkInterface, Serial, Share as VmShare, ShareCache, Vsock,
};
use hull_vm_api::request::{DriveOverride, LoadHugePages, MemoryBackend, SnapshotLoad};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::prepare::Saved;
use crate::programs::Programs;
use crate::share::Share;
use crate::spec::Shape;
use crate::{Error, wired};

/// The guest's address on the vsock; the host is 2.
const GUEST_CID: u64 = 3;

/// What the image's disk seems to have, in bytes, whatever the image: the guest of a template has been told of it. As much as EROFS
/// can address.
const IMAGE_DISK: u64 = 1 << 44;

/// What a part of the image's disk is padded to.
const BLOCK: u64 = 4096;

/// The image's disk.
const IMAGE: &str = "image";

/// The files that become the guest's disks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disks<'a> {
    /// `/dev/vda`: the image, composed of these files in this order.
    pub(crate) image: &'a [PathBuf],
    /// `/dev/vdb`: what the container writes.
    pub(crate) writable: &'a Path,
    /// Whether the writable disk outlives the machine, so that the guest's flushes mean something.
    pub(crate) kept: bool,
}

/// What a machine is, beside its files.
#[derive(Clone, Debug)]
pub(crate) struct MachineSpec<'a> {
    pub(crate) shape: Shape,
    /// Whose descriptors it has.
    pub(crate) shares: &'a [Share],
    pub(crate) boot_args: &'a str,
    /// The MAC address of each of its network interfaces.
    pub(crate) interfaces: Vec<[u8; 6]>,
    /// A file for what the guest's kernel says, which makes the boot much slower.
    pub(crate) kernel_log: Option<HostPath>,
}

/// Descriptors that a machine inherits, by the names that its configuration has for them.
#[derive(Debug, Default)]
pub(crate) struct Descriptors(Vec<(String, OwnedFd)>);

impl Descriptors {
    /// A machine's descriptors, to begin with the socket where connections to the guest are asked for.
    pub(crate) fn new(vsock: UnixListener) -> Self {
        let mut descriptors = Self::default();
        descriptors.give(VSOCK, vsock);
        descriptors
    }

    /// Hands one over.
    pub(crate) fn give(&mut self, name: &str, descriptor: impl Into<OwnedFd>) -> HostPath {
        self.0.push((name.to_owned(), descriptor.into()));
        HostPath::fd(name)
    }

    pub(crate) fn into_inner(self) -> Vec<(String, OwnedFd)> {
        self.0
    }

    fn open(&mut self, name: &str, path: &Path, writable: bool) -> Result<HostPath, Error> {
        let file = File::options().read(true).write(writable).open(path);
        Ok(self.give(name, file.map_err(Error::io("open", path))?))
    }

    /// Hands directories over that are shared.
    pub(crate) fn share(&mut self, shares: &[Share]) -> Result<(), Error> {
        for share in shares {
            let copy = share.directory.try_clone();
            self.give(&share.tag, copy.map_err(Error::io("share", &share.tag))?);
        }
        Ok(())
    }

    /// The parts of the image's disk, and a hole behind them.
    fn image(&mut self, parts: &[PathBuf]) -> Result<Vec<HostPath>, Error> {
        let mut left = IMAGE_DISK;
        let mut names = Vec::with_capacity(parts.len() + 1);
        for (index, path) in parts.iter().enumerate() {
            let file = File::open(path).map_err(Error::io("open", path))?;
            let size = file.metadata().map_err(Error::io("look at", path))?.len();
            let rest = left.checked_sub(size.next_multiple_of(BLOCK));
            left = rest.ok_or_else(|| Error::LargeImage)?;
            names.push(self.give(&format!("{IMAGE}{index}"), file));
        }
        if left > 0 {
            let hole = memfd_create("hole", MemfdFlags::CLOEXEC)
                .and_then(|hole| ftruncate(&hole, left).map(|()| hole));
            let hole = hole.map_err(|errno| Error::io("make", "a hole in memory")(errno.into()))?;
            names.push(self.give("hole", hole));
        }
        Ok(names)
    }
}

/// The socket where connections to the guest are asked for.
const VSOCK: &str = "vsock";

/// How much memory a machine of a shape has.
pub(crate) fn memory_mib(shape: Shape) -> u64 {
    shape.memory_mib.max(MachineConfig::MIN_MEMORY_MIB)
}

/// The configuration of a machine that boots.
pub(crate) fn boot(
    programs: &Programs,
    machine: MachineSpec<'_>,
    disks: Disks<'_>,
    descriptors: &mut Descriptors,
) -> Result<VmConfig, Error> {
    let mut boot_args = machine.boot_args.to_owned();
    boot_args.push_str(match machine.kernel_log {
        Some(_) => " console=ttyS0 ignore_loglevel",
        None => " 8250.nr_uarts=0",
    });
    let boot_source = BootSource {
        kernel_image_path: descriptors.open("kernel", &programs.kernel, false)?,
        initrd_path: Some(descriptors.open("initramfs", &programs.initramfs, false)?),
        boot_args: Some(boot_args),
    };
    let mut image = Drive::new(IMAGE);
    image.parts = descriptors.image(disks.image)?;
    image.is_read_only = true;
    let mut writable = Drive::new("writable");
    writable.path_on_host = Some(descriptors.open("writable", disks.writable, true)?);
    if disks.kept {
        writable.cache_type = CacheType::Writeback;
    }
    let interface = |(index, mac): (usize, [u8; 6])| {
        let id = wired::name(index);
        let mut interface = NetworkInterface::new(id.clone(), HostPath::fd(&id));
        interface.guest_mac = Some(MacAddress(mac));
        interface
    };
    let interfaces = machine.interfaces.into_iter().enumerate();
    Ok(VmConfig {
        drives: vec![image, writable],
        network_interfaces: interfaces.map(interface).collect(),
        machine_config: MachineConfig {
            // At most 32: `Shape` sees to it.
            vcpu_count: u8::try_from(machine.shape.cpus).unwrap_or(MachineConfig::MAX_VCPUS),
            mem_size_mib: memory_mib(machine.shape),
            ..MachineConfig::default()
        },
        shares: machine.shares.iter().map(share).collect(),
        vsock: Some(Vsock::new(GUEST_CID, HostPath::fd(VSOCK))),
        entropy: Some(Entropy::default()),
        // Its memory is the host's again when it is free.
        balloon: Some(Balloon {
            amount_mib: 0,
            deflate_on_oom: true,
            stats_polling_interval_s: 0,
            free_page_hinting: false,
            free_page_reporting: true,
        }),
        serial: machine.kernel_log.map(|path| Serial {
            serial_out_path: Some(path),
            ..Serial::default()
        }),
        ..VmConfig::new(boot_source)
    })
}

/// A directory of the host. It is known by the same name wherever a clone finds another one.
fn share(share: &Share) -> VmShare {
    VmShare {
        tag: share.tag.clone(),
        path: HostPath::fd(&share.tag),
        read_only: share.read_only,
        cache: ShareCache::default(),
        queues: 1,
    }
}

/// What a machine that was saved is loaded from.
pub(crate) fn load(
    saved: Saved,
    disks: Disks<'_>,
    descriptors: &mut Descriptors,
) -> Result<SnapshotLoad, Error> {
    let parts = descriptors.image(disks.image)?;
    descriptors.open("writable", disks.writable, true)?;
    Ok(SnapshotLoad {
        snapshot_path: descriptors.give("state", saved.state),
        mem_backend: MemoryBackend::file(descriptors.give("memory", saved.memory)),
        track_dirty_pages: false,
        resume_vm: true,
        network_overrides: Vec::new(),
        vsock_override: None,
        drive_overrides: vec![DriveOverride {
            drive_id: IMAGE.to_owned(),
            path_on_host: None,
            parts,
        }],
        pmem_overrides: Vec::new(),
        share_overrides: Vec::new(),
        boot_source_override: None,
        clock_realtime: false,
        huge_pages: LoadHugePages::default(),
    })
}
