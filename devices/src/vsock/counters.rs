//! What a vsock device counts. "Rx" is to the guest and "tx" from it, as the guest's queues are called.

use crate::metrics::{Counter, Level};

counters! {
    /// What a vsock device did since it was made.
    pub struct VsockCounters {
        /// Packets to the guest.
        pub rx_packets_count: Counter,
        /// Bytes of data to the guest.
        pub rx_bytes_count: Counter,
        /// Packets from the guest.
        pub tx_packets_count: Counter,
        /// Bytes of data from the guest.
        pub tx_bytes_count: Counter,
        /// How often the queue to the guest was announced.
        pub rx_queue_event_count: Counter,
        /// How often the queue from the guest was announced.
        pub tx_queue_event_count: Counter,
        /// Buffers for packets to the guest that could not be used.
        pub rx_queue_event_fails: Counter,
        /// Packets from the guest that have no header, or another's address.
        pub tx_queue_event_fails: Counter,
        /// Connections that began, from either side.
        pub conns_added: Counter,
        /// Connections that were reset because the guest broke a rule.
        pub conns_killed: Counter,
        /// Connections that ended.
        pub conns_removed: Counter,
        /// Connections that were refused, and packets that belong to none.
        pub refused_count: Counter,
        /// Connections now.
        pub connections: Level,
    }
}
