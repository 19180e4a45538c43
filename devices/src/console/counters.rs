//! What a console counts.

use crate::metrics::Counter;

counters! {
    /// What a console did since it was made.
    pub struct ConsoleCounters {
        /// Bytes to the guest.
        pub rx_bytes_count: Counter,
        /// Ends of the input by an error.
        pub rx_fails: Counter,
        /// Bytes from the guest that were written.
        pub tx_bytes_count: Counter,
        /// Requests whose rest was lost, because nobody reads any more or they name no memory.
        pub tx_fails: Counter,
    }
}
