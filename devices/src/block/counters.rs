//! What a disk did, for metrics.

use std::time::Duration;

use super::request::{Request, RequestError};
use crate::metrics::{Counter, Durations};

counters! {
    /// What a disk did since it was made.
    pub struct BlockCounters {
        /// Reads that were done.
        pub read_count: Counter,
        /// Bytes that the guest read.
        pub read_bytes: Counter,
        /// How long reads took, from the queue to the answer.
        pub read_agg: Durations,
        /// Writes that were done.
        pub write_count: Counter,
        /// Bytes that the guest wrote.
        pub write_bytes: Counter,
        /// How long writes took, from the queue to the answer.
        pub write_agg: Durations,
        /// Flushes that were done.
        pub flush_count: Counter,
        /// Discards and write-zeroes that were done.
        pub discard_count: Counter,
        /// Requests that failed on the host.
        pub execute_fails: Counter,
        /// Requests that could not be understood, or that this disk does not do.
        pub invalid_reqs_count: Counter,
        /// How often a queue was announced: by the driver, or because something in it had waited.
        pub queue_event_count: Counter,
        /// Requests that had to wait for the rate limit.
        pub rate_limiter_throttled_events: Counter,
        /// Requests that had to wait because so many were in flight.
        pub io_engine_throttled_events: Counter,
        /// How often the file was changed for another, or its size was read again.
        pub update_count: Counter,
        /// Changes that were refused.
        pub update_fails: Counter,
    }
}

impl BlockCounters {
    /// Counts a request that took so long.
    pub(super) fn request(
        &self,
        request: &Request,
        result: &Result<u64, RequestError>,
        time: Duration,
    ) {
        if result.is_err() {
            self.execute_fails.count();
            return;
        }
        match request {
            Request::Read { len, .. } => {
                self.read_count.count();
                self.read_bytes.add(*len);
                self.read_agg.add(time);
            }
            Request::Write { len, .. } => {
                self.write_count.count();
                self.write_bytes.add(*len);
                self.write_agg.add(time);
            }
            Request::Flush => self.flush_count.count(),
            Request::Ranges(_) => self.discard_count.count(),
            Request::Identify => {}
        }
    }

    /// Counts a change of the contents.
    pub(super) fn update(&self, done: bool) {
        if done {
            self.update_count.count();
        } else {
            self.update_fails.count();
        }
    }
}
