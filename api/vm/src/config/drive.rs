//! Disks.

use serde::{Deserialize, Serialize};

use super::id::{Kind, MAX_ID};
use super::number::{in_range, number};
use super::{ConfigError, HostPath, RateLimiter, path, rate_limiter};

/// Each disk has an interrupt line, and the other devices need some too.
pub(crate) const DRIVES: Kind = Kind {
    section: "drives",
    field: "drive_id",
    max_id: MAX_ID,
    most: 12,
};

/// One disk (virtio-blk).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// The name of the disk: 1 to 64 letters, digits and underscores.
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
    /// How the host reads and writes.
    #[serde(default)]
    pub io_engine: IoEngine,
    /// Limits of what the guest reads and writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
    /// Firecracker's way to a disk in another process (vhost-user), which is refused: see `validate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Past the page cache of the host (`O_DIRECT`). Hull's own field.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub direct: bool,
    /// Queues of requests, 1 to [`Drive::MAX_QUEUES`]. Hull's own field.
    #[serde(
        default = "one",
        skip_serializing_if = "super::is_one",
        deserialize_with = "number::<_, _, 1, { Drive::MAX_QUEUES as u64 }>"
    )]
    pub queues: u8,
    /// The serial number that the guest sees: 1 to 20 printable ASCII characters. Without it, the first 20 of
    /// `drive_id`. Hull's own field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
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

/// How the host reads and writes a disk's file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoEngine {
    /// By system calls, one after the other.
    #[default]
    Sync,
    /// By io_uring, many at a time.
    Async,
}

/// A change of a disk while the machine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveUpdate {
    /// Which one.
    pub drive_id: String,
    /// Another file in place of the one that it has; the guest is told of its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<HostPath>,
    /// Limits to be put in place of those there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

impl Drive {
    /// What the device has room for.
    pub const MAX_QUEUES: u8 = 16;
    /// VIRTIO_BLK_ID_BYTES (virtio 1.3, 5.2.6).
    const MAX_SERIAL: usize = 20;

    /// A writable disk that is not the root, with nothing behind it yet.
    #[must_use]
    pub fn new(drive_id: impl Into<String>) -> Self {
        Self {
            drive_id: drive_id.into(),
            path_on_host: None,
            parts: Vec::new(),
            is_root_device: false,
            is_read_only: false,
            partuuid: None,
            cache_type: CacheType::default(),
            io_engine: IoEngine::default(),
            rate_limiter: None,
            socket: None,
            direct: false,
            queues: 1,
            serial: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        DRIVES.check(&self.drive_id)?;
        self.validate_backing()?;
        match &self.partuuid {
            Some(uuid) if uuid.is_empty() || !uuid.bytes().all(is_uuid_byte) => {
                return Err(ConfigError::Value {
                    field: "drives.partuuid",
                    value: uuid.clone(),
                    must: "letters, digits and dashes",
                });
            }
            _ => {}
        }
        rate_limiter::check_some(
            "drives.rate_limiter.refill_time",
            self.rate_limiter.as_ref(),
        )?;
        in_range("drives.queues", self.queues, 1, Self::MAX_QUEUES.into())?;
        match &self.serial {
            Some(serial) if !is_serial(serial) => Err(ConfigError::Value {
                field: "drives.serial",
                value: serial.clone(),
                must: "1 to 20 printable ASCII characters",
            }),
            _ => Ok(()),
        }
    }

    fn validate_backing(&self) -> Result<(), ConfigError> {
        let id = &self.drive_id;
        if self.socket.is_some() {
            return Err(ConfigError::conflict(format!(
                "drives: {id:?} has a socket, but a disk of another process (vhost-user) would need the guest's memory in that \
                 process, which Hull gives to nobody; use path_on_host"
            )));
        }
        let (one_file, parts) = (self.path_on_host.is_some(), !self.parts.is_empty());
        if one_file == parts {
            return Err(ConfigError::conflict(format!(
                "drives: {id:?} must have either path_on_host or parts, and not both"
            )));
        }
        if parts && !self.is_read_only {
            return Err(ConfigError::conflict(format!(
                "drives: {id:?} is made of parts, so it must say is_read_only: true"
            )));
        }
        path::check_some("drives.path_on_host", self.path_on_host.as_ref())?;
        for part in &self.parts {
            part.check("drives.parts")?;
        }
        Ok(())
    }

    /// Takes over what an update names.
    pub(crate) fn update(&mut self, update: DriveUpdate) -> Result<(), ConfigError> {
        if update.path_on_host.is_some() && !self.parts.is_empty() {
            return Err(ConfigError::conflict(format!(
                "drives: {:?} is made of parts, which cannot be replaced by one path_on_host",
                self.drive_id
            )));
        }
        self.path_on_host = update.path_on_host.or_else(|| self.path_on_host.take());
        rate_limiter::update(&mut self.rate_limiter, update.rate_limiter);
        Ok(())
    }
}

impl DriveUpdate {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        DRIVES.check(&self.drive_id)?;
        path::check_some("drives.path_on_host", self.path_on_host.as_ref())?;
        rate_limiter::check_some(
            "drives.rate_limiter.refill_time",
            self.rate_limiter.as_ref(),
        )
    }
}

fn one() -> u8 {
    1
}

fn is_uuid_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn is_serial(serial: &str) -> bool {
    let printable = serial.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    printable && (1..=Drive::MAX_SERIAL).contains(&serial.len())
}
