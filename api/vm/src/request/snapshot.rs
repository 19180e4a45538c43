//! Snapshots: where they go and where they come from.

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, HostPath, HugePages, network, path};

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
}

/// How much of the memory a snapshot has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotType {
    /// All of it.
    #[default]
    Full,
    /// What was written since the last snapshot; it needs `track_dirty_pages`.
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
        self.mem_file_path.check("snapshot/create.mem_file_path")
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
            clock_realtime: false,
            huge_pages: LoadHugePages::default(),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.snapshot_path.check("snapshot/load.snapshot_path")?;
        self.mem_backend
            .backend_path
            .check("snapshot/load.mem_backend.backend_path")?;
        let ids = self.network_overrides.iter().map(|o| o.iface_id.as_str());
        crate::config::INTERFACES.check_all(ids)?;
        for over in &self.network_overrides {
            crate::config::INTERFACES.check(&over.iface_id)?;
            let field = "snapshot/load.network_overrides.host_dev_name";
            network::check_tap(field, &over.host_dev_name)?;
        }
        let socket = self.vsock_override.as_ref().map(|over| &over.uds_path);
        path::check_some("snapshot/load.vsock_override.uds_path", socket)
    }
}

impl MemoryBackend {
    /// The memory in a file.
    #[must_use]
    pub fn file(backend_path: HostPath) -> Self {
        Self {
            backend_type: MemoryBackendType::File,
            backend_path,
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
            clock_realtime: load.clock_realtime,
            huge_pages: load.huge_pages,
        }
    }
}
