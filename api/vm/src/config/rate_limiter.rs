//! How much a device may do in a time: token buckets for bytes and for operations.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::number::{in_range, number, optional};

/// Two independent limits. One that is missing does not limit; in a PATCH it stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimiter {
    /// Its tokens are bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<TokenBucket>,
    /// Its tokens are requests of the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ops: Option<TokenBucket>,
}

/// A bucket that holds `size` tokens and is filled in `refill_time`. With 0 for either it does not limit, which is how a
/// PATCH takes a limit away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBucket {
    /// The tokens that it holds when full.
    #[serde(deserialize_with = "number::<_, _, 0, { u64::MAX }>")]
    pub size: u64,
    /// Tokens on top, once, which are spent first.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional::<_, _, 0, { u64::MAX }>"
    )]
    pub one_time_burst: Option<u64>,
    /// In milliseconds, from empty to full, up to [`TokenBucket::MAX_REFILL_TIME`].
    #[serde(deserialize_with = "number::<_, _, 0, { TokenBucket::MAX_REFILL_TIME }>")]
    pub refill_time: u64,
}

impl TokenBucket {
    /// What can be counted in nanoseconds, in milliseconds: 584 years.
    pub const MAX_REFILL_TIME: u64 = u64::MAX / 1_000_000;

    /// Whether it limits anything.
    #[must_use]
    pub fn limits(&self) -> bool {
        self.size != 0 && self.refill_time != 0
    }

    pub(crate) fn validate(&self, field: &'static str) -> Result<(), ConfigError> {
        in_range(field, self.refill_time, 0, Self::MAX_REFILL_TIME)
    }
}

impl RateLimiter {
    pub(crate) fn validate(&self, field: &'static str) -> Result<(), ConfigError> {
        for bucket in self.bandwidth.iter().chain(&self.ops) {
            bucket.validate(field)?;
        }
        Ok(())
    }
}

/// Checks a limiter if there is one; `field` names its `refill_time`.
pub(crate) fn check_some(
    field: &'static str,
    limiter: Option<&RateLimiter>,
) -> Result<(), ConfigError> {
    limiter.map_or(Ok(()), |limiter| limiter.validate(field))
}

/// Takes over the buckets that an update names. Those that do not limit are left out.
pub(crate) fn update(limiter: &mut Option<RateLimiter>, update: Option<RateLimiter>) {
    let Some(update) = update else {
        return;
    };
    let mut now = limiter.unwrap_or_default();
    now.bandwidth = update
        .bandwidth
        .or(now.bandwidth)
        .filter(TokenBucket::limits);
    now.ops = update.ops.or(now.ops).filter(TokenBucket::limits);
    *limiter = Some(now).filter(|now| *now != RateLimiter::default());
}
