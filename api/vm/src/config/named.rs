//! Everything of the host that a configuration or a request names, with what it is for.
//!
//! The VMM opens nothing else: who breaks into its machine can ask for these and for no other.

use serde::{Deserialize, Serialize};

use super::{
    BootSection, BootSource, CpuSection, Draft, Drive, HostPath, NetworkInterface, Pmem, Share,
    VmConfig,
};
use crate::request::Request;

/// What something of the host is for, and so what may be done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathUse {
    /// A file to be read.
    Read,
    /// A file to be read and written.
    ReadWrite,
    /// A file to be written behind its end, made if it is missing.
    Append,
    /// A file that is made, in the place of what is there.
    Create,
    /// A directory with all that is in it.
    Directory,
    /// The name of a TAP device.
    Tap,
    /// Where a socket is to listen.
    Listen,
    /// A file that is read if it is there, and in whose place another is put.
    Record,
    /// The socket of a process that fills memory.
    Faults,
}

/// Something of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPath {
    /// As it was written.
    pub path: HostPath,
    /// What it is for.
    pub used: PathUse,
}

impl<B: BootSection> VmConfig<B> {
    /// Everything of the host that it names.
    #[must_use]
    pub fn host_paths(&self) -> Vec<NamedPath> {
        let mut named = Vec::new();
        if let Some(boot) = self.boot_source.section() {
            boot_source(boot, &mut named);
        }
        for each in &self.drives {
            drive(each, &mut named);
        }
        for each in &self.pmem {
            pmem(each, &mut named);
        }
        for each in &self.network_interfaces {
            interface(each, &mut named);
        }
        for each in &self.shares {
            share(each, &mut named);
        }
        let mut add = |path: &HostPath, used| named.push(name(path, used));
        if let Some(vsock) = &self.vsock {
            add(&vsock.uds_path, PathUse::Listen);
        }
        let log = self.logger.as_ref().and_then(|l| l.log_path.as_ref());
        let metrics = self.metrics.as_ref().map(|m| &m.metrics_path);
        let serial = self.serial.as_ref();
        let serial = serial.and_then(|serial| serial.serial_out_path.as_ref());
        let console = self.console.as_ref().map(|console| &console.output_path);
        for path in log.into_iter().chain(metrics).chain(serial).chain(console) {
            add(path, PathUse::Append);
        }
        let input = self.console.as_ref().and_then(|c| c.input_path.as_ref());
        let typed = self.serial.as_ref().and_then(|s| s.serial_in_path.as_ref());
        let template = match &self.cpu_config {
            Some(CpuSection::File(path)) => Some(path),
            _ => None,
        };
        for path in input.into_iter().chain(typed).chain(template) {
            add(path, PathUse::Read);
        }
        named
    }
}

impl Request {
    /// Everything of the host that a request to a machine that was started names; `config` is what that machine is.
    #[must_use]
    pub fn host_paths(&self, config: &Draft) -> Vec<NamedPath> {
        let mut named = Vec::new();
        match self {
            Self::PutDrive(put) => drive(put, &mut named),
            Self::PutPmem(put) => pmem(put, &mut named),
            Self::PutNetworkInterface(put) => interface(put, &mut named),
            Self::PutShare(put) => share(put, &mut named),
            Self::CreateSnapshot(create) => {
                let paths = [&create.mem_file_path, &create.snapshot_path];
                named.extend(paths.map(|path| name(path, PathUse::Create)));
            }
            Self::PatchDrive(update) => {
                let mut drives = config.drives.iter();
                let drive = drives.find(|drive| drive.drive_id == update.drive_id);
                if let (Some(drive), Some(path)) = (drive, &update.path_on_host) {
                    named.push(name(path, contents(drive.is_read_only)));
                }
            }
            _ => {}
        }
        named
    }
}

fn name(path: &HostPath, used: PathUse) -> NamedPath {
    let path = path.clone();
    NamedPath { path, used }
}

fn contents(read_only: bool) -> PathUse {
    match read_only {
        true => PathUse::Read,
        false => PathUse::ReadWrite,
    }
}

fn boot_source(boot: &BootSource, named: &mut Vec<NamedPath>) {
    named.push(name(&boot.kernel_image_path, PathUse::Read));
    let initrd = boot.initrd_path.iter();
    named.extend(initrd.map(|path| name(path, PathUse::Read)));
}

fn drive(drive: &Drive, named: &mut Vec<NamedPath>) {
    let whole = drive.path_on_host.iter();
    named.extend(whole.map(|path| name(path, contents(drive.is_read_only))));
    let parts = drive.parts.iter();
    named.extend(parts.map(|path| name(path, PathUse::Read)));
}

fn pmem(pmem: &Pmem, named: &mut Vec<NamedPath>) {
    let files = pmem.path_on_host.iter().chain(&pmem.parts);
    named.extend(files.map(|path| name(path, contents(pmem.read_only))));
}

/// A TAP by its name, or the descriptors of all its queues.
fn interface(interface: &NetworkInterface, named: &mut Vec<NamedPath>) {
    let tap = &interface.host_dev_name;
    match tap.as_fd() {
        None => named.push(name(tap, PathUse::Tap)),
        Some(_) => named.extend(
            (0..interface.queues).map(|queue| name(&tap.of_queue(queue), PathUse::ReadWrite)),
        ),
    }
}

fn share(share: &Share, named: &mut Vec<NamedPath>) {
    named.push(name(&share.path, PathUse::Directory));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DriveUpdate;

    fn config() -> VmConfig {
        VmConfig::parse(
            br#"{
                "boot-source": { "kernel_image_path": "k", "initrd_path": "i" },
                "drives": [
                    { "drive_id": "a", "path_on_host": "ro", "is_root_device": true, "is_read_only": true },
                    { "drive_id": "b", "path_on_host": "rw", "is_root_device": false },
                    { "drive_id": "c", "parts": ["p1", "p2"], "is_root_device": false, "is_read_only": true }
                ],
                "pmem": [{ "id": "m", "path_on_host": "memory" }],
                "network-interfaces": [
                    { "iface_id": "n", "host_dev_name": "tap0" },
                    { "iface_id": "o", "host_dev_name": "fd:net", "queues": 2 }
                ],
                "shares": [{ "tag": "t", "path": "/srv" }],
                "vsock": { "guest_cid": 3, "uds_path": "v" },
                "logger": { "log_path": "log" },
                "metrics": { "metrics_path": "metrics" },
                "serial": { "serial_out_path": "serial", "serial_in_path": "keys" },
                "console": { "output_path": "out", "input_path": "in" },
                "cpu-config": "template"
            }"#,
        )
        .unwrap()
    }

    fn told(named: &[NamedPath]) -> Vec<(&str, PathUse)> {
        let told = named.iter().map(|named| (named.path.as_str(), named.used));
        told.collect()
    }

    #[test]
    fn a_configuration_names_each_file_for_what_it_is() {
        let expected = [
            ("k", PathUse::Read),
            ("i", PathUse::Read),
            ("ro", PathUse::Read),
            ("rw", PathUse::ReadWrite),
            ("p1", PathUse::Read),
            ("p2", PathUse::Read),
            ("memory", PathUse::ReadWrite),
            ("tap0", PathUse::Tap),
            ("fd:net", PathUse::ReadWrite),
            ("fd:net.1", PathUse::ReadWrite),
            ("/srv", PathUse::Directory),
            ("v", PathUse::Listen),
            ("log", PathUse::Append),
            ("metrics", PathUse::Append),
            ("serial", PathUse::Append),
            ("out", PathUse::Append),
            ("in", PathUse::Read),
            ("keys", PathUse::Read),
            ("template", PathUse::Read),
        ];
        assert_eq!(told(&config().host_paths()), expected);
    }

    #[test]
    fn a_change_of_a_disk_names_its_file_as_the_disk_may_use_it() {
        let draft: Draft = config().into();
        let change = |id: &str| {
            Request::PatchDrive(DriveUpdate {
                drive_id: id.to_owned(),
                path_on_host: Some("new".into()),
                rate_limiter: None,
            })
        };
        let named = change("a").host_paths(&draft);
        assert_eq!(told(&named), [("new", PathUse::Read)]);
        let named = change("b").host_paths(&draft);
        assert_eq!(told(&named), [("new", PathUse::ReadWrite)]);
        assert_eq!(change("z").host_paths(&draft), []);
        assert_eq!(Request::GetVersion.host_paths(&draft), []);
    }
}
