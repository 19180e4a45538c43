//! Files as memory of the guest.

use serde::{Deserialize, Serialize};

use super::id::{Kind, MAX_ID};
use super::{ConfigError, HostPath, RateLimiter, rate_limiter};

/// Each has an interrupt line and a piece of the guest's address space.
pub(crate) const PMEM: Kind = Kind {
    section: "pmem",
    field: "id",
    max_id: MAX_ID,
    most: 8,
};

/// One file that the guest maps (virtio-pmem).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pmem {
    /// The name of the device: 1 to 64 letters, digits and underscores.
    pub id: String,
    /// The file.
    pub path_on_host: HostPath,
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
        self.path_on_host.check("pmem.path_on_host")?;
        rate_limiter::check_some("pmem.rate_limiter.refill_time", self.rate_limiter.as_ref())
    }
}

impl PmemUpdate {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        PMEM.check(&self.id)?;
        rate_limiter::check_some("pmem.rate_limiter.refill_time", self.rate_limiter.as_ref())
    }
}
