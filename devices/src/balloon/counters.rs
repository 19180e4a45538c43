//! What a balloon did, for metrics.

use crate::metrics::Counter;
use crate::reclaim::Reclaimed;
use crate::worker::Outcome;

/// Bytes after whose return others have their turn.
const TURN: u64 = 64 << 20;

counters! {
    /// What a balloon did since it was made.
    pub struct BalloonCounters {
        /// Requests to inflate.
        pub inflate_count: Counter,
        /// Bytes that went back to the host by inflation.
        pub inflate_freed_bytes: Counter,
        /// Requests to deflate.
        pub deflate_count: Counter,
        /// Requests to inflate that could not be understood, and what the host's kernel refused of them.
        pub event_fails: Counter,
        /// Buffers of statistics.
        pub stats_updates_count: Counter,
        /// Buffers of statistics that could not be read.
        pub stats_update_fails: Counter,
        /// Reports of free pages.
        pub free_page_report_count: Counter,
        /// Bytes that went back to the host by reports.
        pub free_page_report_freed: Counter,
        /// What the host's kernel refused of reports.
        pub free_page_report_fails: Counter,
        /// Hints at free pages, those outside of a run included.
        pub free_page_hint_count: Counter,
        /// Bytes that went back to the host by hints.
        pub free_page_hint_freed: Counter,
        /// Hints that could not be understood, and what the host's kernel refused of them.
        pub free_page_hint_fails: Counter,
        /// Bytes that were named and stayed: outside of the guest's memory, or parts of huge pages.
        pub left_bytes: Counter,
    }
}

impl BalloonCounters {
    /// Counts what all ways have in common, and says how a request ends.
    pub(super) fn reclaimed(&self, result: Reclaimed, fails: &Counter) -> Outcome {
        self.left_bytes.add(result.left);
        fails.add(result.failures);
        if result.bytes > TURN {
            Outcome::Enough(0)
        } else {
            Outcome::Used(0)
        }
    }
}
