//! What a snapshot is taken of, in a machine that runs.

use std::time::Instant;

use hull_vm_api::Request;
use hull_vm_api::config::Serial;
use hull_vm_api::request::SnapshotType;

use super::Host;
use super::after::us;
use crate::kvm::{self, KvmError};
use crate::running::Running;
use crate::snapshot::create::Subject;
use crate::snapshot::vcpu;

impl Running {
    /// Everything that a snapshot is taken of.
    ///
    /// # Errors
    /// If KVM does not say which registers vCPUs have.
    pub(super) fn subject(&self, host: &Host) -> Result<Subject, KvmError> {
        let tracks = self.config.machine_config.track_dirty_pages;
        let mut config = self.config.clone().to_be_saved();
        if let (Some(source), Some(boot)) = (&mut config.boot_source, &self.boot) {
            // With what this host's kernels are told.
            source.clone_from(&boot.source);
        }
        if self.serial.is_some() {
            // It may be there without having been asked for.
            config.serial.get_or_insert_with(Serial::default);
        }
        Ok(Subject {
            config,
            devices: self.virtio.to_be_saved(),
            keyboard: self.keyboard.clone(),
            serial: self.serial.as_ref().map(|serial| serial.port.clone()),
            vcpus: self.vcpus.waiting(),
            msrs: vcpu::msrs(&self.kvm)?,
            vm: self.vm.clone(),
            has_pit: kvm::has_pit(&self.kvm),
            memory: self.virtio.own_memory(),
            missing: self.virtio.missing(),
            slots: tracks.then(|| self.virtio.memory_slots()),
            last: self.last_snapshot.clone(),
            pagemap: host.files.pagemap(),
            files: host.files.clone(),
        })
    }

    /// A snapshot was taken.
    pub(super) fn note_snapshot(&self, request: &Request, began: Instant) {
        let Request::CreateSnapshot(create) = request else {
            return;
        };
        let latency = match create.snapshot_type {
            SnapshotType::Full => &self.latencies.full_create_snapshot,
            SnapshotType::Diff => &self.latencies.diff_create_snapshot,
        };
        latency.set(us(began));
        tracing::info!(
            "snapshot taken: {} and {}",
            create.snapshot_path,
            create.mem_file_path
        );
    }
}
