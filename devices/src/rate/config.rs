//! What a user may say about rates.

use serde::{Deserialize, Serialize};

/// One bucket (`TokenBucket` of Firecracker's API). A token is a byte or an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketConfig {
    /// Tokens that the bucket holds, and which it gets in each [`BucketConfig::refill_time`]. It is full at first.
    pub size: u64,
    /// Tokens that are there at first besides, used before all others and never filled again.
    pub one_time_burst: u64,
    /// Milliseconds in which an empty bucket becomes full. More than 146 years are taken for 146 years.
    pub refill_time: u64,
}

impl BucketConfig {
    /// Whether it limits anything: a size or a refill time of 0 means no limit, as in Firecracker.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        self.size != 0 && self.refill_time != 0
    }
}

/// Both buckets of a limiter (`RateLimiter` of Firecracker's API). Without a bucket there is no limit; in a change, the
/// limit stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateConfig {
    /// Bytes.
    pub bandwidth: Option<BucketConfig>,
    /// Operations: requests, or frames.
    pub ops: Option<BucketConfig>,
}
