//! Token buckets that hold a device to a rate: `RateLimiter` and `TokenBucket` of Firecracker's API.
//!
//! A limiter has up to two buckets, one for bytes and one for operations. A request passes when both have enough for it.
//! If not, a timerfd goes off at the very moment at which they will; there is no grid of wake-ups that would round a rate
//! up or down.
//!
//! ```text
//! config.rs   what a user may say            state.rs    what is saved
//! bucket.rs   one bucket, in exact integers  limits.rs   the two together; both pure, with the time as an argument
//! limiter.rs  with a clock and a timerfd: what devices use, and how others change it while it runs
//! ```

mod bucket;
mod config;
mod limiter;
mod limits;
mod state;
#[cfg(test)]
mod tests;

pub use config::{BucketConfig, RateConfig};
pub use limiter::{RateControl, RateLimiter};
pub use limits::Limits;
pub use state::{BucketState, RateRestoreError, RateState};
