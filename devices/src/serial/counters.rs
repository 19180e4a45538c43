//! What became of the bytes of a serial port.

use crate::metrics::Counter;

counters! {
    /// What a serial port did since it was made.
    pub struct SerialCounters {
        /// Bytes that went out.
        pub written_bytes: Counter,
        /// Bytes that nobody took at once.
        pub dropped_bytes: Counter,
        /// Bytes beyond the configured rate.
        pub rate_limiter_dropped_bytes: Counter,
    }
}
