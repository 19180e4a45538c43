//! What a rate limiter saves.

use serde::{Deserialize, Serialize};

use super::config::BucketConfig;

/// The saved state of a limiter. Untrusted until [`super::RateLimiter::restore`] has checked it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateState {
    /// Bytes; none if they are not limited.
    pub bandwidth: Option<BucketState>,
    /// Operations; none if they are not limited.
    pub ops: Option<BucketState>,
}

/// The saved state of a bucket. Parts of a token are not saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketState {
    /// Its limit.
    pub config: BucketConfig,
    /// Tokens in it.
    pub tokens: u64,
    /// Tokens that it owes after a request that was larger than it.
    pub debt: u64,
    /// What is left of the one-time burst, in tokens.
    pub burst: u64,
}

/// Why a saved state did not become a limiter.
#[derive(Debug, thiserror::Error)]
pub enum RateRestoreError {
    /// Only limits are saved.
    #[error("a saved rate limit has a size or a refill time of 0")]
    NoLimit,
    /// More than a bucket can hold.
    #[error(
        "a saved rate limit has {tokens} of {size} tokens, and {burst} of {one_time_burst} of its one-time burst"
    )]
    TooFull {
        /// In the bucket.
        tokens: u64,
        /// What it holds.
        size: u64,
        /// Left of the burst.
        burst: u64,
        /// The whole burst.
        one_time_burst: u64,
    },
    /// The kernel refused.
    #[error("no timer for a rate limit")]
    Timer(#[source] std::io::Error),
}
