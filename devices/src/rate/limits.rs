//! Both buckets of a limiter. Pure: the time is an argument, on any clock that does not go back.

use std::time::Duration;

use super::bucket::Bucket;
use super::config::{BucketConfig, RateConfig};
use super::state::{RateRestoreError, RateState};

/// A rate for bytes, one for operations, both, or none.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    bandwidth: Option<Bucket>,
    ops: Option<Bucket>,
}

impl Limits {
    /// Limits whose buckets are full.
    #[must_use]
    pub fn new(config: &RateConfig, now: Duration) -> Self {
        let full = |config: Option<BucketConfig>| config.and_then(|c| Bucket::new(c, now));
        Self {
            bandwidth: full(config.bandwidth),
            ops: full(config.ops),
        }
    }

    /// Limits as they were saved. The time in between fills nothing.
    ///
    /// # Errors
    /// [`RateRestoreError`] if a bucket can't be.
    pub fn restore(state: &RateState, now: Duration) -> Result<Self, RateRestoreError> {
        let restored = |state: &Option<_>| {
            let bucket = state.as_ref().map(|state| Bucket::restore(state, now));
            bucket.transpose()
        };
        Ok(Self {
            bandwidth: restored(&state.bandwidth)?,
            ops: restored(&state.ops)?,
        })
    }

    /// What must be saved.
    pub fn save(&mut self, now: Duration) -> RateState {
        RateState {
            bandwidth: self.bandwidth.as_mut().map(|bucket| bucket.save(now)),
            ops: self.ops.as_mut().map(|bucket| bucket.save(now)),
        }
    }

    /// The limits that there are.
    #[must_use]
    pub fn config(&self) -> RateConfig {
        RateConfig {
            bandwidth: self.bandwidth.as_ref().map(Bucket::config),
            ops: self.ops.as_ref().map(Bucket::config),
        }
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.bandwidth.is_none() && self.ops.is_none()
    }

    /// Whether a request would pass. One that is larger than a bucket passes as soon as that bucket has no debt, and leaves
    /// one that those behind it wait for.
    ///
    /// # Errors
    /// How long until it would pass.
    pub fn admit(&mut self, bytes: u64, ops: u64, now: Duration) -> Result<(), Duration> {
        let wait = |bucket: &mut Option<Bucket>, tokens| bucket.as_mut()?.wait(tokens, now);
        let waits = (wait(&mut self.bandwidth, bytes), wait(&mut self.ops, ops));
        waits.0.max(waits.1).map_or(Ok(()), Err)
    }

    /// Takes what something costs from both buckets, whether they have it or not; it may leave a debt.
    pub fn charge(&mut self, bytes: u64, ops: u64) {
        if let Some(bucket) = &mut self.bandwidth {
            bucket.spend(bytes);
        }
        if let Some(bucket) = &mut self.ops {
            bucket.spend(ops);
        }
    }

    /// Changes the limits that `config` names: sizes and rates are new, tokens and debts are kept as far as they fit. One
    /// with a size or refill time of 0 goes away.
    pub fn change(&mut self, config: &RateConfig, now: Duration) {
        let change = |bucket: &mut Option<Bucket>, config: Option<BucketConfig>| {
            if let Some(config) = config {
                *bucket = match bucket {
                    Some(bucket) => bucket.changed(config, now),
                    None => Bucket::new(config, now),
                };
            }
        };
        change(&mut self.bandwidth, config.bandwidth);
        change(&mut self.ops, config.ops);
    }
}
