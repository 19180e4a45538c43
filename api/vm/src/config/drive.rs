//! Disks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ConfigError, HostPath};

/// Most disks of one machine: each has an interrupt line, and the other devices need some too.
pub(super) const MAX_DRIVES: usize = 12;

/// One disk (virtio-blk).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// The name of the disk: 1 to 64 letters, digits and underscores. The guest sees its first 20 bytes as serial number.
    pub drive_id: String,
    /// The file or block device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<HostPath>,
    /// Files that make up a read-only disk one after the other, each padded with zeros to 4 KiB. Instead of
    /// `path_on_host`; Hull's own field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<HostPath>,
    /// The kernel is told to mount this disk as its root (`root=` on its command line).
    pub is_root_device: bool,
    /// The guest cannot write.
    #[serde(default)]
    pub is_read_only: bool,
    /// With `is_root_device`: the partition of this disk that is the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partuuid: Option<String>,
    /// Whether the guest's flushes reach the host's disk.
    #[serde(default)]
    pub cache_type: CacheType,
}

/// What a flush of the guest means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheType {
    /// The guest is told that there is nothing to flush. A crash of the host can lose what the guest thought written.
    #[default]
    Unsafe,
    /// A flush is an fsync on the host.
    Writeback,
}

pub(super) fn validate(drives: &[Drive]) -> Result<(), ConfigError> {
    if drives.len() > MAX_DRIVES {
        return Err(ConfigError::TooManyDrives(drives.len()));
    }
    let mut ids = BTreeSet::new();
    let mut root: Option<&Drive> = None;
    for drive in drives {
        drive.validate()?;
        if !ids.insert(&drive.drive_id) {
            return Err(ConfigError::DuplicateDrive(drive.drive_id.clone()));
        }
        if !drive.is_root_device {
            continue;
        }
        if let Some(first) = root.replace(drive) {
            return Err(ConfigError::TwoRoots {
                first: first.drive_id.clone(),
                second: drive.drive_id.clone(),
            });
        }
    }
    Ok(())
}

impl Drive {
    fn validate(&self) -> Result<(), ConfigError> {
        let id = &self.drive_id;
        let word = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !word || !(1..=64).contains(&id.len()) {
            return Err(ConfigError::DriveId(id.clone()));
        }
        let (one_file, parts) = (self.path_on_host.is_some(), !self.parts.is_empty());
        if one_file == parts {
            return Err(ConfigError::DriveBacking(id.clone()));
        }
        if !self.parts.is_empty() && !self.is_read_only {
            return Err(ConfigError::WritableParts(id.clone()));
        }
        if let Some(path) = &self.path_on_host {
            path.check("drives.path_on_host")?;
        }
        for part in &self.parts {
            part.check("drives.parts")?;
        }
        match &self.partuuid {
            Some(uuid) if uuid.is_empty() || !uuid.bytes().all(is_uuid_byte) => {
                Err(ConfigError::PartUuid(uuid.clone()))
            }
            _ => Ok(()),
        }
    }
}

fn is_uuid_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}
