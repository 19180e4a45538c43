//! Files as memory of the guest.

use serde::{Deserialize, Serialize};

use super::id::{Kind, MAX_ID};
use super::{ConfigError, HostPath, RateLimiter, path, rate_limiter};

/// Each has an interrupt line and a piece of the guest's address space.
pub(crate) const PMEM: Kind = Kind {
    section: "pmem",
    field: "id",
    max_id: MAX_ID,
    most: 8,
};

/// A file that the guest maps (virtio-pmem), or several in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pmem {
    /// The name of the device: 1 to 64 letters, digits and underscores.
    pub id: String,
    /// The file. Its size must be a multiple of 4 KiB, unless it is read-only, and nobody may shorten it while it is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<HostPath>,
    /// Files that make up read-only memory one after the other, each padded with zeros to 4 KiB. Instead of `path_on_host`;
    /// Hull's own field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<HostPath>,
    /// The kernel is told to mount it as its root.
    #[serde(default)]
    pub root_device: bool,
    /// The guest cannot write.
    #[serde(default)]
    pub read_only: bool,
    /// Limits of the guest's flushes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

/// A change of a device while the machine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PmemUpdate {
    /// Which one.
    pub id: String,
    /// Limits to be put in place of those there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

impl Pmem {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        PMEM.check(&self.id)?;
        let (id, parts) = (&self.id, !self.parts.is_empty());
        if self.path_on_host.is_some() == parts {
            return Err(ConfigError::conflict(format!(
                "pmem: {id:?} must have either path_on_host or parts, and not both"
            )));
        }
        if parts && !self.read_only {
            return Err(ConfigError::conflict(format!(
                "pmem: {id:?} is made of parts, so it must say read_only: true"
            )));
        }
        path::check_some("pmem.path_on_host", self.path_on_host.as_ref())?;
        for part in &self.parts {
            part.check("pmem.parts")?;
        }
        rate_limiter::check_some("pmem.rate_limiter.refill_time", self.rate_limiter.as_ref())
    }
}

impl PmemUpdate {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        PMEM.check(&self.id)?;
        rate_limiter::check_some("pmem.rate_limiter.refill_time", self.rate_limiter.as_ref())
    }
}
