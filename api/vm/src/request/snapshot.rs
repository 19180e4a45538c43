//! Snapshots: where they go and where they come from.

use serde::{Deserialize, Serialize};

use crate::config::{
    BootSource, ConfigError, HostPath, HugePages, NamedPath, PathUse, network, path,
};

/// What the state's name ends with while its memory has its name already, and it has not: who is killed between the two leaves a
/// whole snapshot all the same.
pub const PENDING: &str = ".pending";

/// Where a snapshot goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    /// How much of the memory is written.
    #[serde(default)]
    pub snapshot_type: SnapshotType,
    /// The file for the state of the machine.
    pub snapshot_path: HostPath,
    /// The file for the guest's memory.
    pub mem_file_path: HostPath,
    /// A microVM that is paused goes on as soon as there is a copy of it, as one that runs does. Hull's own field.
    #[serde(default, skip_serializing_if = "crate::config::is_false")]
    pub resume_vm: bool,
}

/// How much of the memory a snapshot has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotType {
    /// All of it.
    #[default]
    Full,
    /// What was written since the last snapshot; it needs `track_dirty_pages`. Without a snapshot before it that is all.
    Diff,
}

/// Where a machine comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SnapshotLoadBody", into = "SnapshotLoadBody")]
pub struct SnapshotLoad {
    /// The file with the state of the machine.
    pub snapshot_path: HostPath,
    /// The guest's memory.
    pub mem_backend: MemoryBackend,
    /// Note which pages the guest writes, from the start.
    pub track_dirty_pages: bool,
    /// Let it run at once.
    pub resume_vm: bool,
    /// Other TAP devices than those of the snapshot.
    pub network_overrides: Vec<NetworkOverride>,
    /// Another socket than that of the snapshot.
    pub vsock_override: Option<VsockOverride>,
    /// Other files for disks. Hull's own field.
    pub drive_overrides: Vec<DriveOverride>,
    /// Other files for pmem devices. Hull's own field.
    pub pmem_overrides: Vec<PmemOverride>,
    /// Other directories for shares. Hull's own field.
    pub share_overrides: Vec<ShareOverride>,
    /// What boots when the guest reboots, of a machine that is to be started again then; with the snapshot's arguments if it has none. Hull's
    /// own field.
    pub boot_source_override: Option<BootSource>,
    /// The guest's clock goes on by the time that has passed since the snapshot.
    pub clock_realtime: bool,
    /// What the memory is made of on the host.
    pub huge_pages: LoadHugePages,
}

/// The body of `PUT /snapshot/load`, in which the memory can be named in two ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotLoadBody {
    snapshot_path: HostPath,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mem_backend: Option<MemoryBackend>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mem_file_path: Option<HostPath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enable_diff_snapshots: Option<bool>,
    #[serde(default)]
    track_dirty_pages: bool,
    #[serde(default)]
    resume_vm: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    network_overrides: Vec<NetworkOverride>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vsock_override: Option<VsockOverride>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    drive_overrides: Vec<DriveOverride>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pmem_overrides: Vec<PmemOverride>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    share_overrides: Vec<ShareOverride>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot_source_override: Option<BootSource>,
    #[serde(default)]
    clock_realtime: bool,
    #[serde(default)]
    huge_pages: LoadHugePages,
}

/// Where the guest's memory comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryBackend {
    /// What `backend_path` is.
    pub backend_type: MemoryBackendType,
    /// The file, or the socket.
    pub backend_path: HostPath,
    /// Where it is recorded which pages of a file the guest touches at first, if it has not been yet; those are brought in ahead when the
    /// snapshot is loaded again. Hull's own field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_set: Option<HostPath>,
}

/// How the guest's memory comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryBackendType {
    /// A file, mapped privately.
    File,
    /// The Unix socket of a process that answers page faults (userfaultfd).
    Uffd,
}

/// Another TAP device for an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkOverride {
    /// The interface.
    pub iface_id: String,
    /// Its TAP device, or `fd:NAME`.
    pub host_dev_name: HostPath,
}

/// Another socket for the vsock device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VsockOverride {
    /// See [`crate::config::Vsock::uds_path`].
    pub uds_path: HostPath,
}

/// Other files for a disk: what it was copied to, for the guest goes on with what it knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveOverride {
    /// The disk.
    pub drive_id: String,
    /// See [`crate::config::Drive::path_on_host`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<HostPath>,
    /// See [`crate::config::Drive::parts`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<HostPath>,
}

/// Other files for a pmem device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PmemOverride {
    /// The device.
    pub id: String,
    /// See [`crate::config::Pmem::path_on_host`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<HostPath>,
    /// See [`crate::config::Pmem::parts`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<HostPath>,
}

/// Another directory for a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareOverride {
    /// The share.
    pub tag: String,
    /// See [`crate::config::Share::path`].
    pub path: HostPath,
}

/// What the memory of a restored machine is made of on the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadHugePages {
    /// What it was made of before.
    #[default]
    Snapshot,
    /// See [`HugePages::None`].
    None,
    /// See [`HugePages::Transparent`].
    Transparent,
    /// See [`HugePages::Hugetlbfs2M`].
    #[serde(rename = "2M")]
    Hugetlbfs2M,
}

/// Neither or both ways to name the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryFields {
    /// In Firecracker's words.
    #[error("missing field: either `mem_backend` or `mem_file_path` is required")]
    Missing,
    /// In Firecracker's words.
    #[error("too many fields: either `mem_backend` or `mem_file_path` exclusively is required")]
    TooMany,
}

impl LoadHugePages {
    /// What it is, for a snapshot of a machine that had `saved`.
    #[must_use]
    pub fn resolve(self, saved: HugePages) -> HugePages {
        match self {
            Self::Snapshot => saved,
            Self::None => HugePages::None,
            Self::Transparent => HugePages::Transparent,
            Self::Hugetlbfs2M => HugePages::Hugetlbfs2M,
        }
    }
}

impl SnapshotCreate {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.snapshot_path.check("snapshot/create.snapshot_path")?;
        self.mem_file_path.check("snapshot/create.mem_file_path")?;
        if self.snapshot_path == self.mem_file_path {
            return Err(ConfigError::conflict(format!(
                "snapshot/create: snapshot_path and mem_file_path are both {}; state and memory are two files",
                self.snapshot_path
            )));
        }
        if pending(&self.snapshot_path).as_ref() == Some(&self.mem_file_path) {
            return Err(ConfigError::conflict(format!(
                "snapshot/create: mem_file_path {} is what snapshot_path is called until it is in its place; choose another name",
                self.mem_file_path
            )));
        }
        Ok(())
    }
}

/// What a state of that name is called until it is in its place. A descriptor has no such name.
fn pending(path: &HostPath) -> Option<HostPath> {
    match path.as_fd() {
        Some(_) => None,
        None => Some(format!("{path}{PENDING}").into()),
    }
}

impl SnapshotLoad {
    /// A machine that stays paused, with its memory from a file.
    #[must_use]
    pub fn new(snapshot_path: HostPath, memory: HostPath) -> Self {
        Self {
            snapshot_path,
            mem_backend: MemoryBackend::file(memory),
            track_dirty_pages: false,
            resume_vm: false,
            network_overrides: Vec::new(),
            vsock_override: None,
            drive_overrides: Vec::new(),
            pmem_overrides: Vec::new(),
            share_overrides: Vec::new(),
            boot_source_override: None,
            clock_realtime: false,
            huge_pages: LoadHugePages::default(),
        }
    }

    /// The snapshot's own files. What else it names, it says itself.
    #[must_use]
    pub fn host_paths(&self) -> Vec<NamedPath> {
        let memory = match self.mem_backend.backend_type {
            MemoryBackendType::File => PathUse::Read,
            MemoryBackendType::Uffd => PathUse::Faults,
        };
        let named = |path: &HostPath, used| NamedPath {
            path: path.clone(),
            used,
        };
        let mut all = vec![
            named(&self.snapshot_path, PathUse::Read),
            named(&self.mem_backend.backend_path, memory),
        ];
        let working_set = self.mem_backend.working_set.iter();
        all.extend(working_set.map(|path| named(path, PathUse::Record)));
        all.extend(self.pending_path().map(|path| named(&path, PathUse::Read)));
        all
    }

    /// Where the state is if who wrote it was killed before it was in its place, and the memory in its own.
    #[must_use]
    pub fn pending_path(&self) -> Option<HostPath> {
        match self.mem_backend.backend_type {
            MemoryBackendType::File => pending(&self.snapshot_path),
            // Nothing says whether another process's memory is that state's.
            MemoryBackendType::Uffd => None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.snapshot_path.check("snapshot/load.snapshot_path")?;
        self.validate_memory()?;
        let ids = self.network_overrides.iter().map(|o| o.iface_id.as_str());
        crate::config::INTERFACES.check_all(ids)?;
        for over in &self.network_overrides {
            crate::config::INTERFACES.check(&over.iface_id)?;
            let field = "snapshot/load.network_overrides.host_dev_name";
            network::check_tap(field, &over.host_dev_name)?;
        }
        let socket = self.vsock_override.as_ref().map(|over| &over.uds_path);
        path::check_some("snapshot/load.vsock_override.uds_path", socket)?;
        self.validate_files()
    }

    fn validate_memory(&self) -> Result<(), ConfigError> {
        let MemoryBackend {
            backend_type,
            backend_path,
            working_set,
        } = &self.mem_backend;
        backend_path.check("snapshot/load.mem_backend.backend_path")?;
        let Some(path) = working_set else {
            return Ok(());
        };
        path.check("snapshot/load.mem_backend.working_set")?;
        if *backend_type == MemoryBackendType::Uffd {
            return Err(ConfigError::conflict(
                "snapshot/load.mem_backend: working_set is for the backend_type File; with Uffd it is the other process that can load pages ahead",
            ));
        }
        if path == backend_path || *path == self.snapshot_path {
            return Err(ConfigError::conflict(format!(
                "snapshot/load.mem_backend: working_set is {path}, which is a file of the snapshot; name one of its own"
            )));
        }
        Ok(())
    }

    fn validate_files(&self) -> Result<(), ConfigError> {
        crate::config::DRIVES
            .check_all(self.drive_overrides.iter().map(|o| o.drive_id.as_str()))?;
        crate::config::PMEM.check_all(self.pmem_overrides.iter().map(|o| o.id.as_str()))?;
        crate::config::SHARES.check_all(self.share_overrides.iter().map(|o| o.tag.as_str()))?;
        let drives = self.drive_overrides.iter();
        let drives = drives.map(|o| (&o.drive_id, &o.path_on_host, &o.parts));
        let pmem = self.pmem_overrides.iter();
        let pmem = pmem.map(|o| (&o.id, &o.path_on_host, &o.parts));
        for (id, path, parts) in drives.chain(pmem) {
            for path in path.iter().chain(parts) {
                path.check("snapshot/load: path_on_host or parts of an override")?;
            }
            if path.is_some() != parts.is_empty() {
                return Err(ConfigError::conflict(format!(
                    "snapshot/load: the override of {id:?} must have either path_on_host or parts"
                )));
            }
        }
        let boot = self.boot_source_override.as_ref();
        boot.map_or(Ok(()), BootSource::validate)?;
        let mut shares = self.share_overrides.iter();
        shares.try_for_each(|o| o.path.check("snapshot/load.share_overrides.path"))
    }
}

impl MemoryBackend {
    /// The memory in a file.
    #[must_use]
    pub fn file(backend_path: HostPath) -> Self {
        Self {
            backend_type: MemoryBackendType::File,
            backend_path,
            working_set: None,
        }
    }
}

impl SnapshotLoadBody {
    /// Whether it has fields that Firecracker has deprecated.
    pub(crate) fn is_deprecated(&self) -> bool {
        self.mem_file_path.is_some() || self.enable_diff_snapshots == Some(true)
    }
}

impl TryFrom<SnapshotLoadBody> for SnapshotLoad {
    type Error = MemoryFields;

    fn try_from(body: SnapshotLoadBody) -> Result<Self, MemoryFields> {
        let mem_backend = match (body.mem_backend, body.mem_file_path) {
            (Some(backend), None) => backend,
            (None, Some(path)) => MemoryBackend::file(path),
            (None, None) => return Err(MemoryFields::Missing),
            (Some(_), Some(_)) => return Err(MemoryFields::TooMany),
        };
        Ok(Self {
            snapshot_path: body.snapshot_path,
            mem_backend,
            track_dirty_pages: body.track_dirty_pages || body.enable_diff_snapshots == Some(true),
            resume_vm: body.resume_vm,
            network_overrides: body.network_overrides,
            vsock_override: body.vsock_override,
            drive_overrides: body.drive_overrides,
            pmem_overrides: body.pmem_overrides,
            share_overrides: body.share_overrides,
            boot_source_override: body.boot_source_override,
            clock_realtime: body.clock_realtime,
            huge_pages: body.huge_pages,
        })
    }
}

impl From<SnapshotLoad> for SnapshotLoadBody {
    fn from(load: SnapshotLoad) -> Self {
        Self {
            snapshot_path: load.snapshot_path,
            mem_backend: Some(load.mem_backend),
            mem_file_path: None,
            enable_diff_snapshots: None,
            track_dirty_pages: load.track_dirty_pages,
            resume_vm: load.resume_vm,
            network_overrides: load.network_overrides,
            vsock_override: load.vsock_override,
            drive_overrides: load.drive_overrides,
            pmem_overrides: load.pmem_overrides,
            share_overrides: load.share_overrides,
            boot_source_override: load.boot_source_override,
            clock_realtime: load.clock_realtime,
            huge_pages: load.huge_pages,
        }
    }
}
