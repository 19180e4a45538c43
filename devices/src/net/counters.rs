//! What an interface counts.

use serde::Serialize;

use crate::metrics::{Counter, Figure, Metrics, Value};

/// The counters of one interface since it was made.
#[derive(Debug, Default)]
pub struct Counters {
    /// To the guest.
    pub rx: Direction,
    /// From the guest.
    pub tx: Direction,
}

/// One way.
#[derive(Debug, Default)]
pub struct Direction {
    packets: Counter,
    bytes: Counter,
    drops: Counter,
    spoofed: Counter,
    errors: Counter,
    malformed: Counter,
    mmds_packets: Counter,
    throttled: Counter,
    announced: Counter,
}

/// The counters of one way at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DirectionCounters {
    /// Frames that went through. A segmented one is one frame.
    pub packets: u64,
    /// Their bytes, with Ethernet headers.
    pub bytes: u64,
    /// Frames that were good, but did not go through: too large for the guest's buffers, or the link was down.
    pub drops: u64,
    /// Frames from the guest that its filter does not allow; not among the drops.
    pub spoofed: u64,
    /// Frames that could not be read or written, and requests that hold no frame.
    pub errors: u64,
    /// Of the errors: requests that hold no frame.
    pub malformed: u64,
    /// Frames from and to the metadata service; not among the packets.
    pub mmds_packets: u64,
    /// How often the rate limit made frames wait.
    pub throttled: u64,
    /// How often the queue was announced: by the driver, or because something in it had waited.
    pub announced: u64,
}

impl Direction {
    /// The numbers now.
    #[must_use]
    pub fn get(&self) -> DirectionCounters {
        DirectionCounters {
            packets: self.packets.get(),
            bytes: self.bytes.get(),
            drops: self.drops.get(),
            spoofed: self.spoofed.get(),
            errors: self.errors.get(),
            malformed: self.malformed.get(),
            mmds_packets: self.mmds_packets.get(),
            throttled: self.throttled.get(),
            announced: self.announced.get(),
        }
    }

    pub(super) fn packet(&self, bytes: u64) {
        self.packets.count();
        self.bytes.add(bytes);
    }

    pub(super) fn drop(&self) {
        self.drops.count();
    }

    pub(super) fn spoofed(&self) {
        self.spoofed.count();
    }

    pub(super) fn error(&self) {
        self.errors.count();
    }

    pub(super) fn malformed(&self) {
        self.errors.count();
        self.malformed.count();
    }

    pub(super) fn mmds_packet(&self) {
        self.mmds_packets.count();
    }

    pub(super) fn throttled(&self) {
        self.throttled.count();
    }

    pub(super) fn announced(&self) {
        self.announced.count();
    }
}

impl Metrics for Counters {
    fn each(&self, tell: &mut dyn FnMut(Figure)) {
        let (rx, tx) = (self.rx.get(), self.tx.get());
        let fields = [
            (
                "rx_packets_count",
                "Frames to the guest. A segmented one is one frame.",
                rx.packets,
            ),
            (
                "rx_bytes_count",
                "Their bytes, with Ethernet headers.",
                rx.bytes,
            ),
            (
                "rx_count",
                "Reads from the TAP that brought a frame.",
                rx.packets,
            ),
            (
                "rx_fails",
                "Frames that could not be read, and times that the TAP was gone.",
                rx.errors,
            ),
            (
                "rx_drops_count",
                "Frames that were too large for the guest's buffers, or came while the link was down.",
                rx.drops,
            ),
            (
                "rx_queue_event_count",
                "How often the queue was announced.",
                rx.announced,
            ),
            (
                "rx_rate_limiter_throttled",
                "How often the rate limit made frames to the guest wait.",
                rx.throttled,
            ),
            (
                "tx_packets_count",
                "Frames from the guest. A segmented one is one frame.",
                tx.packets,
            ),
            (
                "tx_bytes_count",
                "Their bytes, with Ethernet headers.",
                tx.bytes,
            ),
            (
                "tx_count",
                "Writes to the TAP that took a frame.",
                tx.packets,
            ),
            (
                "tx_fails",
                "Frames that could not be written, malformed ones included.",
                tx.errors,
            ),
            (
                "tx_malformed_frames",
                "Requests that hold no frame.",
                tx.malformed,
            ),
            (
                "tx_drops_count",
                "Frames that were sent while the link was down.",
                tx.drops,
            ),
            (
                "tx_spoofed_mac_count",
                "Frames from an address that the guest may not use, Ethernet or IP.",
                tx.spoofed,
            ),
            (
                "tx_queue_event_count",
                "How often the queue was announced.",
                tx.announced,
            ),
            (
                "tx_rate_limiter_throttled",
                "How often the rate limit made frames from the guest wait.",
                tx.throttled,
            ),
            (
                "mmds_rx_count",
                "Frames from the guest to the metadata service.",
                tx.mmds_packets,
            ),
            (
                "mmds_tx_count",
                "Frames from the metadata service to the guest.",
                rx.mmds_packets,
            ),
        ];
        for (name, help, count) in fields {
            let value = Value::Count(count);
            tell(Figure { name, help, value });
        }
    }
}
