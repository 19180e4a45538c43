//! The configuration of a container's microVM.
//!
//! Files are handed over as descriptors (`fd:NAME`), so that the VMM opens nothing itself.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hull_vm_api::VmConfig;
use hull_vm_api::config::{
    BootSource, CacheType, Drive, Entropy, HostPath, MachineConfig, Serial, Vsock,
};

use crate::Error;
use crate::programs::Programs;
use crate::spec::Shape;

/// The guest's address on the vsock; the host is 2.
const GUEST_CID: u64 = 3;

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
    pub(crate) boot_args: &'a str,
    /// Where the VMM listens for connections to the guest.
    pub(crate) vsock: HostPath,
    /// A file for what the guest's kernel says, which makes the boot much slower.
    pub(crate) kernel_log: Option<HostPath>,
}

/// Descriptors that a machine inherits, by the names that its configuration has for them.
type Descriptors = Vec<(String, OwnedFd)>;

/// Composes the configuration and opens what it needs.
pub(crate) fn configuration(
    programs: &Programs,
    machine: MachineSpec<'_>,
    disks: Disks<'_>,
) -> Result<(VmConfig, Descriptors), Error> {
    let mut descriptors = Vec::new();
    let mut hand_over = |name: String, path: &Path, writable: bool| {
        let file = File::options().read(true).write(writable).open(path);
        let file = file.map_err(Error::io("open", path))?;
        let reference = HostPath::fd(&name);
        descriptors.push((name, file.into()));
        Ok::<_, Error>(reference)
    };
    let mut boot_args = machine.boot_args.to_owned();
    boot_args.push_str(match machine.kernel_log {
        Some(_) => " console=ttyS0 ignore_loglevel",
        None => " 8250.nr_uarts=0",
    });
    let boot_source = BootSource {
        kernel_image_path: hand_over("kernel".to_owned(), &programs.kernel, false)?,
        initrd_path: Some(hand_over(
            "initramfs".to_owned(),
            &programs.initramfs,
            false,
        )?),
        boot_args: Some(boot_args),
    };
    let mut image = Drive::new("image");
    for (index, path) in disks.image.iter().enumerate() {
        image
            .parts
            .push(hand_over(format!("image{index}"), path, false)?);
    }
    image.is_read_only = true;
    let mut writable = Drive::new("writable");
    writable.path_on_host = Some(hand_over("writable".to_owned(), disks.writable, true)?);
    if disks.kept {
        writable.cache_type = CacheType::Writeback;
    }
    let config = VmConfig {
        drives: vec![image, writable],
        machine_config: MachineConfig {
            // At most 32: `Shape` sees to it.
            vcpu_count: u8::try_from(machine.shape.cpus).unwrap_or(MachineConfig::MAX_VCPUS),
            mem_size_mib: machine.shape.memory_mib.max(MachineConfig::MIN_MEMORY_MIB),
            ..MachineConfig::default()
        },
        vsock: Some(Vsock::new(GUEST_CID, machine.vsock)),
        entropy: Some(Entropy::default()),
        serial: machine.kernel_log.map(|path| Serial {
            serial_out_path: Some(path),
            ..Serial::default()
        }),
        ..VmConfig::new(boot_source)
    };
    Ok((config, descriptors))
}
