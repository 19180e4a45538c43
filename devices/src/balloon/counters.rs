//! What a balloon did, for metrics.

use crate::reclaim::Reclaimed;
use crate::worker::Outcome;

/// Bytes after whose return others have their turn.
const TURN: u64 = 64 << 20;

/// What a balloon did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BalloonCounters {
    /// Requests to inflate.
    pub inflates: u64,
    /// Requests to deflate.
    pub deflates: u64,
    /// Buffers of statistics.
    pub statistics_updates: u64,
    /// Reports of free pages.
    pub reports: u64,
    /// Hints at free pages, those outside of a run included.
    pub hints: u64,
    /// Bytes that went back to the host by inflation.
    pub inflated_bytes: u64,
    /// Bytes that went back by reports.
    pub reported_bytes: u64,
    /// Bytes that went back by hints.
    pub hinted_bytes: u64,
    /// Bytes that were named and stayed: outside of the guest's memory, or parts of huge pages.
    pub left_bytes: u64,
    /// Requests that could not be understood, and calls that the host's kernel refused.
    pub failures: u64,
}

impl BalloonCounters {
    /// Counts what all ways have in common, and says how a request ends.
    pub(super) fn count(&mut self, result: Reclaimed) -> Outcome {
        self.left_bytes = self.left_bytes.saturating_add(result.left);
        self.failures += result.failures;
        if result.bytes > TURN {
            Outcome::Enough(0)
        } else {
            Outcome::Used(0)
        }
    }
}
