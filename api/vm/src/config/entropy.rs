//! Random numbers from the host.

use serde::{Deserialize, Serialize};

use super::{ConfigError, RateLimiter, rate_limiter};

/// A random number device fed by the host (virtio-rng).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entropy {
    /// Limits of what the guest takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

impl Entropy {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        rate_limiter::check_some(
            "entropy.rate_limiter.refill_time",
            self.rate_limiter.as_ref(),
        )
    }
}
