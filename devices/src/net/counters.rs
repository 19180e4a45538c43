//! What an interface counts. One thread counts, any thread reads, and nobody locks.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

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
    packets: AtomicU64,
    bytes: AtomicU64,
    drops: AtomicU64,
    spoofed: AtomicU64,
    errors: AtomicU64,
    mmds_packets: AtomicU64,
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
    /// Frames from and to the metadata service; not among the packets.
    pub mmds_packets: u64,
}

impl Direction {
    /// The numbers now.
    #[must_use]
    pub fn get(&self) -> DirectionCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DirectionCounters {
            packets: load(&self.packets),
            bytes: load(&self.bytes),
            drops: load(&self.drops),
            spoofed: load(&self.spoofed),
            errors: load(&self.errors),
            mmds_packets: load(&self.mmds_packets),
        }
    }

    pub(super) fn packet(&self, bytes: u64) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn drop(&self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn spoofed(&self) {
        self.spoofed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn mmds_packet(&self) {
        self.mmds_packets.fetch_add(1, Ordering::Relaxed);
    }
}
