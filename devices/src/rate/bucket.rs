//! One token bucket, in exact integers.
//!
//! The level is counted in fractions of a token, so small that each nanosecond adds a whole number of them: `size`
//! fractions, where a token has `refill` (the nanoseconds of the refill time). Nothing is ever rounded, so no rate drifts.

use std::time::Duration;

use super::config::BucketConfig;
use super::state::{BucketState, RateRestoreError};

/// The longest refill time in nanoseconds; with it, size times refill time still fits 127 bits.
const MAX_REFILL: u64 = 1 << 62;
/// How late a wake-up may be without a loss to who waits, in nanoseconds. A bucket that is full keeps no more tokens, which
/// bounds the bursts of the idle; but who waited was not idle when a busy host let it wait longer, and a bucket of a
/// millisecond would lose a tenth of its rate to that.
const LATE: i128 = 20_000_000;

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    config: BucketConfig,
    /// Nanoseconds in which it is filled; also, fractions that make a token.
    refill: u64,
    /// Fractions; below zero after a request that was larger than the bucket.
    level: i128,
    /// What is left of the one-time burst, in tokens.
    burst: u64,
    /// When the level was right.
    last: Duration,
    /// Whether the last request was refused.
    waits: bool,
}

impl Bucket {
    /// A full bucket; none if there is no limit.
    pub(super) fn new(config: BucketConfig, now: Duration) -> Option<Self> {
        if !config.is_limit() {
            return None;
        }
        let refill = config.refill_time.saturating_mul(1_000_000).min(MAX_REFILL);
        Some(Self {
            config,
            refill,
            level: i128::from(config.size) * i128::from(refill),
            burst: config.one_time_burst,
            last: now,
            waits: false,
        })
    }

    pub(super) fn config(&self) -> BucketConfig {
        self.config
    }

    /// How long until `tokens` can be had; none if they can be had now. What is larger than the bucket can be had as soon
    /// as there is no debt, and leaves one.
    pub(super) fn wait(&mut self, tokens: u64, now: Duration) -> Option<Duration> {
        self.fill(now);
        let rest = tokens.saturating_sub(self.burst);
        if rest == 0 {
            return None;
        }
        let needed = if rest > self.config.size {
            0
        } else {
            self.fractions(rest)
        };
        let missing = u128::try_from(needed.saturating_sub(self.level)).unwrap_or(0);
        if missing == 0 {
            return None;
        }
        self.waits = true;
        let nanos = missing.div_ceil(u128::from(self.config.size));
        Some(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }

    /// Takes tokens whether they are there or not.
    pub(super) fn spend(&mut self, tokens: u64) {
        let from_burst = tokens.min(self.burst);
        self.burst -= from_burst;
        let cost = self.fractions(tokens - from_burst);
        self.level = self.level.saturating_sub(cost);
        self.waits = false;
    }

    /// The bucket with another size and rate, with the tokens or the debt that it has, as far as they fit. What was spent
    /// of the one-time burst stays spent.
    pub(super) fn changed(&mut self, config: BucketConfig, now: Duration) -> Option<Self> {
        self.fill(now);
        let mut changed = Self::new(config, now)?;
        let spent = self.config.one_time_burst.saturating_sub(self.burst);
        changed.burst = config.one_time_burst.saturating_sub(spent);
        let full = changed.full();
        changed.level = (self.level / i128::from(self.refill))
            .saturating_mul(i128::from(changed.refill))
            .clamp(-full, full);
        Some(changed)
    }

    pub(super) fn save(&mut self, now: Duration) -> BucketState {
        self.fill(now);
        let refill = i128::from(self.refill);
        let tokens = |fractions: i128| u64::try_from(fractions / refill).unwrap_or(0);
        BucketState {
            config: self.config,
            tokens: tokens(self.level.min(self.full())),
            debt: tokens(self.level.saturating_neg()),
            burst: self.burst,
        }
    }

    pub(super) fn restore(state: &BucketState, now: Duration) -> Result<Self, RateRestoreError> {
        let config = state.config;
        let mut bucket = Self::new(config, now).ok_or(RateRestoreError::NoLimit)?;
        if state.tokens > config.size || state.burst > config.one_time_burst {
            return Err(RateRestoreError::TooFull {
                tokens: state.tokens,
                size: config.size,
                burst: state.burst,
                one_time_burst: config.one_time_burst,
            });
        }
        bucket.level = bucket.fractions(state.tokens) - bucket.fractions(state.debt);
        bucket.burst = state.burst;
        Ok(bucket)
    }

    /// Adds what came since the last time.
    fn fill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.last).as_nanos();
        self.last = self.last.max(now);
        let gain = i128::try_from(elapsed)
            .unwrap_or(i128::MAX)
            .saturating_mul(i128::from(self.config.size));
        let late = if self.waits {
            i128::from(self.config.size) * LATE
        } else {
            0
        };
        let ceiling = self.full().saturating_add(late).max(self.level);
        self.level = self.level.saturating_add(gain).min(ceiling);
    }

    fn full(&self) -> i128 {
        self.fractions(self.config.size)
    }

    fn fractions(&self, tokens: u64) -> i128 {
        i128::from(tokens) * i128::from(self.refill)
    }
}
