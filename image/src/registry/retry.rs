//! When to try again, and how long to wait before.

use std::time::Duration;

use super::error::Error;

/// Exponential back-off with jitter.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Failures in a row that are forgiven.
    pub attempts: u32,
    /// Wait before the first repetition; it doubles each time.
    pub base: Duration,
    /// Longest wait, also when the registry asks for more.
    pub limit: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(500),
            limit: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// Repeats a small request while its failure may be a passing one. `report` is told why, and in how long.
    pub(crate) async fn repeat<T, F>(
        &self,
        report: impl Fn(String, Duration),
        request: impl Fn() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut failures = 0;
        loop {
            let error = match request().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            failures += 1;
            match self.delay(failures, error.retry_after()) {
                Some(after) if error.is_transient() => {
                    report(error.to_string(), after);
                    tokio::time::sleep(after).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// How long to wait after the failure number `failures` (from 1), or `None` to give up. `asked` is what the
    /// registry's `Retry-After` says.
    pub(crate) fn delay(&self, failures: u32, asked: Option<Duration>) -> Option<Duration> {
        if failures > self.attempts {
            return None;
        }
        let doubled = self.base.saturating_mul(
            1_u32
                .checked_shl(failures.saturating_sub(1))
                .unwrap_or(u32::MAX),
        );
        // Between half and all of it, so that many clients do not come back together.
        let jittered = doubled.min(self.limit).mul_f64(0.5 + random() / 2.0);
        Some(jittered.max(asked.unwrap_or_default()).min(self.limit))
    }
}

/// A number from 0 to 1 that differs between processes; nothing depends on its quality.
fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(0_u8);
    let upper = u32::try_from(bits >> 32).unwrap_or(0);
    f64::from(upper) / f64::from(u32::MAX)
}
