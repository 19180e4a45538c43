//! What a snapshot says of its machine, and what whoever loads it says of the host.

use super::{
    ConfigError, CpuTemplate, DRIVES, Draft, HugePages, INTERFACES, PMEM, Reboot, SHARES, id::Kind,
};
use crate::request::{MemoryBackendType, SnapshotLoad};

impl Draft {
    /// What goes into a snapshot: the machine without where its VMM writes, and without what only a boot needs, unless a reboot of its
    /// guest is one.
    #[must_use]
    pub fn to_be_saved(mut self) -> Self {
        if self.machine_config.reboot != Reboot::Restart {
            self.boot_source = None;
            self.cpu_config = None;
            self.machine_config.cpu_template = CpuTemplate::None;
        }
        self.machine_config.prefault = false;
        self.logger = None;
        self.metrics = None;
        self
    }

    /// A machine as its snapshot has it, on the files, interfaces and sockets that `load` names in the place of its own, and with the
    /// terminals, the log and the figures of `process`.
    ///
    /// # Errors
    /// If something is named that the machine does not have.
    pub fn restored(mut self, load: &SnapshotLoad, process: &Self) -> Result<Self, ConfigError> {
        self.machine_config.track_dirty_pages = load.track_dirty_pages;
        let huge_pages = load.huge_pages.resolve(self.machine_config.huge_pages);
        let is_file = load.mem_backend.backend_type == MemoryBackendType::File;
        if huge_pages == HugePages::Hugetlbfs2M && is_file {
            return Err(ConfigError::conflict(
                "snapshot/load.huge_pages: a memory file is not made of pages of 2 MiB; make huge_pages None or Transparent",
            ));
        }
        self.machine_config.huge_pages = huge_pages;
        for over in &load.network_overrides {
            let interfaces = &mut self.network_interfaces;
            let interface = find(&INTERFACES, interfaces, &over.iface_id, |i| &i.iface_id)?;
            interface.host_dev_name = over.host_dev_name.clone();
        }
        for over in &load.drive_overrides {
            let drive = find(&DRIVES, &mut self.drives, &over.drive_id, |d| &d.drive_id)?;
            drive.path_on_host.clone_from(&over.path_on_host);
            drive.parts.clone_from(&over.parts);
        }
        for over in &load.pmem_overrides {
            let pmem = find(&PMEM, &mut self.pmem, &over.id, |p| &p.id)?;
            pmem.path_on_host.clone_from(&over.path_on_host);
            pmem.parts.clone_from(&over.parts);
        }
        for over in &load.share_overrides {
            let share = find(&SHARES, &mut self.shares, &over.tag, |s| &s.tag)?;
            share.path = over.path.clone();
        }
        if let Some(over) = &load.vsock_override {
            let vsock = self.vsock.as_mut();
            let vsock = vsock.ok_or(ConfigError::NoSection { section: "vsock" })?;
            vsock.uds_path = over.uds_path.clone();
        }
        self.repoint_boot(load)?;
        replace("serial", &mut self.serial, process.serial.clone())?;
        replace("console", &mut self.console, process.console.clone())?;
        self.logger.clone_from(&process.logger);
        self.metrics.clone_from(&process.metrics);
        self.validate()?;
        Ok(self)
    }
}

impl Draft {
    /// What it boots when its guest reboots, which only a machine does that is to be started again.
    fn repoint_boot(&mut self, load: &SnapshotLoad) -> Result<(), ConfigError> {
        let again = self.machine_config.reboot == Reboot::Restart;
        match (&mut self.boot_source, &load.boot_source_override) {
            (_, None) if !again => Ok(()),
            (_, Some(_)) if !again => Err(ConfigError::conflict(
                "snapshot/load.boot_source_override: this machine ends when its guest reboots, and boots nothing; leave it out",
            )),
            (None, None) => Err(ConfigError::conflict(
                "its guest is to boot again when it reboots (machine-config.reboot restart), and the snapshot, which an older hull-vmm took, \
                 does not say what: name that by snapshot/load.boot_source_override",
            )),
            (Some(_), None) => Ok(()),
            (own, Some(over)) => {
                let saved = own.take().and_then(|own| own.boot_args);
                let mut boot = over.clone();
                boot.boot_args = boot.boot_args.or(saved);
                *own = Some(boot);
                Ok(())
            }
        }
    }
}

fn find<'a, T>(
    kind: &Kind,
    devices: &'a mut [T],
    wanted: &str,
    id: impl Fn(&T) -> &String,
) -> Result<&'a mut T, ConfigError> {
    let mut devices = devices.iter_mut();
    let found = devices.find(|device| id(device) == wanted);
    found.ok_or_else(|| kind.missing(wanted))
}

/// Puts a terminal in the place of the snapshot's, which must have one.
fn replace<T>(
    section: &'static str,
    own: &mut Option<T>,
    other: Option<T>,
) -> Result<(), ConfigError> {
    match (own.is_some(), other) {
        (_, None) => Ok(()),
        (true, other) => {
            *own = other;
            Ok(())
        }
        (false, Some(_)) => Err(ConfigError::NoSection { section }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::VmConfig;

    fn machine() -> Draft {
        let json = json!({
            "boot-source": { "kernel_image_path": "k" },
            "machine-config": {
                "vcpu_count": 1, "mem_size_mib": 128, "prefault": true, "cpu_template": "T2", "track_dirty_pages": true
            },
            "drives": [
                { "drive_id": "a", "path_on_host": "a.img", "is_root_device": false },
                { "drive_id": "b", "parts": ["b1", "b2"], "is_root_device": false, "is_read_only": true }
            ],
            "pmem": [{ "id": "p", "path_on_host": "p.img" }],
            "network-interfaces": [{ "iface_id": "n", "host_dev_name": "tap0" }],
            "shares": [{ "tag": "s", "path": "/srv" }],
            "vsock": { "guest_cid": 3, "uds_path": "v" },
            "logger": { "log_path": "log" },
            "console": { "output_path": "out" }
        });
        let config = VmConfig::parse(json.to_string().as_bytes()).unwrap();
        Draft::from(config).to_be_saved()
    }

    fn load(more: &Value) -> SnapshotLoad {
        let mut body = json!({ "snapshot_path": "s", "mem_backend": { "backend_type": "File", "backend_path": "m" } });
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn what_only_a_boot_needs_is_not_saved() {
        let saved = machine();
        assert_eq!((&saved.boot_source, &saved.logger), (&None, &None));
        assert_eq!(saved.machine_config.cpu_template, CpuTemplate::None);
        assert!(!saved.machine_config.prefault);
    }

    #[test]
    fn what_a_reboot_needs_is_saved_and_can_be_another() {
        let json = json!({
            "boot-source": { "kernel_image_path": "k", "initrd_path": "i", "boot_args": "quiet" },
            "machine-config": { "vcpu_count": 1, "mem_size_mib": 128, "cpu_template": "T2", "reboot": "restart" }
        });
        let config = VmConfig::parse(json.to_string().as_bytes()).unwrap();
        let saved = Draft::from(config).to_be_saved();
        assert_eq!(saved.machine_config.cpu_template, CpuTemplate::T2);
        let process = Draft::default();
        let own = saved.clone().restored(&load(&json!({})), &process).unwrap();
        assert_eq!(own.boot_source, saved.boot_source);
        let over = load(&json!({ "boot_source_override": { "kernel_image_path": "fd:k" } }));
        let restored = saved.clone().restored(&over, &process).unwrap();
        let boot = restored.boot_source.unwrap();
        assert_eq!(
            (boot.kernel_image_path.as_str(), boot.initrd_path),
            ("fd:k", None)
        );
        assert_eq!(boot.boot_args.as_deref(), Some("quiet"));
        // What an older one took.
        let silent = Draft {
            boot_source: None,
            ..saved
        };
        let refused = silent
            .clone()
            .restored(&load(&json!({})), &process)
            .unwrap_err();
        assert!(
            refused.to_string().contains("boot_source_override"),
            "{refused}"
        );
        assert!(silent.restored(&over, &process).is_ok());
        let refused = machine().restored(&over, &process).unwrap_err();
        assert!(refused.to_string().contains("boots nothing"), "{refused}");
    }

    #[test]
    fn everything_of_the_host_can_be_another() {
        let load = load(&json!({
            "drive_overrides": [{ "drive_id": "a", "path_on_host": "fd:a" }, { "drive_id": "b", "parts": ["c1"] }],
            "pmem_overrides": [{ "id": "p", "path_on_host": "fd:p" }],
            "network_overrides": [{ "iface_id": "n", "host_dev_name": "tap7" }],
            "share_overrides": [{ "tag": "s", "path": "/other" }],
            "vsock_override": { "uds_path": "w" }
        }));
        let process = Draft {
            console: serde_json::from_value(json!({ "output_path": "new" })).unwrap(),
            ..Draft::default()
        };
        let restored = machine().restored(&load, &process).unwrap();
        assert!(!restored.machine_config.track_dirty_pages);
        let named = restored.host_paths();
        let named: Vec<_> = named.iter().map(|named| named.path.as_str()).collect();
        let expected = ["fd:a", "c1", "fd:p", "tap7", "/other", "w", "new"];
        assert_eq!(named, expected);
        let own = machine().restored(&self::load(&json!({})), &Draft::default());
        let own = own.unwrap();
        assert_eq!(own.drives, machine().drives);
        assert_eq!(own.console, machine().console);
    }

    #[test]
    fn what_the_machine_does_not_have_cannot_be_another() {
        let refused = |more: &Value, process: &Draft| {
            let error = machine().restored(&load(more), process).unwrap_err();
            error.to_string()
        };
        let process = Draft::default();
        for (field, id) in [("drive_overrides", "drive_id"), ("pmem_overrides", "id")] {
            let sentence = refused(
                &json!({ field: [{ id: "x", "path_on_host": "y" }] }),
                &process,
            );
            assert!(sentence.contains("there is none"), "{sentence}");
        }
        let huge = refused(&json!({ "huge_pages": "2M" }), &process);
        assert!(huge.contains("None or Transparent"), "{huge}");
        let process = Draft {
            serial: Some(super::super::Serial::default()),
            ..Draft::default()
        };
        let serial = refused(&json!({}), &process);
        assert_eq!(serial, "serial is not configured on this microVM");
        let both = json!({ "drive_overrides": [{ "drive_id": "a", "path_on_host": "a", "parts": ["b"] }] });
        assert!(load(&both).validate().is_err());
    }
}
