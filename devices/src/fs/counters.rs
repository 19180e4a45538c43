//! What a share counts.

use crate::metrics::Counter;

counters! {
    /// What a shared directory did since it was made.
    pub struct FsCounters {
        /// Requests.
        pub request_count: Counter,
        /// Requests that were answered with an error, as many are meant to be: a name that is not there is one.
        pub error_count: Counter,
        /// Requests without a header.
        pub invalid_reqs_count: Counter,
        /// Reads that were done.
        pub read_count: Counter,
        /// Bytes that the guest read.
        pub read_bytes: Counter,
        /// Writes that were done.
        pub write_count: Counter,
        /// Bytes that the guest wrote.
        pub write_bytes: Counter,
        /// Requests that had to wait for a lock.
        pub lock_wait_count: Counter,
        /// How often a queue was announced by the driver.
        pub queue_event_count: Counter,
    }
}
