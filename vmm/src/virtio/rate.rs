//! Rate limits of the configuration as the devices know them.

use hull_devices::rate::{BucketConfig, RateConfig};
use hull_vm_api::config::{RateLimiter, TokenBucket};

/// Limits that a device begins with.
pub(super) fn limits(limiter: Option<&RateLimiter>) -> RateConfig {
    limiter.map(change).unwrap_or_default()
}

/// Limits that are to be changed: those that are not named stay.
pub(crate) fn change(limiter: &RateLimiter) -> RateConfig {
    RateConfig {
        bandwidth: limiter.bandwidth.as_ref().map(bucket),
        ops: limiter.ops.as_ref().map(bucket),
    }
}

/// A limit for bytes alone.
pub(crate) fn bandwidth(limit: Option<&TokenBucket>) -> RateConfig {
    RateConfig {
        bandwidth: limit.map(bucket),
        ops: None,
    }
}

fn bucket(bucket: &TokenBucket) -> BucketConfig {
    BucketConfig {
        size: bucket.size,
        one_time_burst: bucket.one_time_burst.unwrap_or(0),
        refill_time: bucket.refill_time,
    }
}
