//! A virtqueue as saved data.

use serde::{Deserialize, Serialize};

/// Where a queue is and how far it got. The driver chose the addresses and the size, and a snapshot may have been
/// tampered with: nothing in it is trusted until [`super::Virtqueue::new`] has checked it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// The largest size that the device allows, in descriptors.
    pub max_size: u16,
    /// The size that the driver chose.
    pub size: u16,
    /// Whether the driver has finished with setting it up.
    pub ready: bool,
    /// Guest physical address of the descriptor table.
    pub desc_table: u64,
    /// Guest physical address of the available ring.
    pub avail_ring: u64,
    /// Guest physical address of the used ring.
    pub used_ring: u64,
    /// The available ring's index of what comes next.
    pub next_avail: u16,
    /// The used ring's index of what comes next.
    pub next_used: u16,
}

impl QueueState {
    /// A queue that no driver has touched.
    #[must_use]
    pub fn new(max_size: u16) -> Self {
        Self {
            max_size,
            size: max_size,
            ..Self::default()
        }
    }

    pub(super) fn to_raw(self, event_idx: bool) -> virtio_queue::QueueState {
        virtio_queue::QueueState {
            max_size: self.max_size,
            next_avail: self.next_avail,
            next_used: self.next_used,
            event_idx_enabled: event_idx,
            size: self.size,
            ready: self.ready,
            desc_table: self.desc_table,
            avail_ring: self.avail_ring,
            used_ring: self.used_ring,
        }
    }

    pub(super) fn from_raw(raw: virtio_queue::QueueState) -> Self {
        Self {
            max_size: raw.max_size,
            size: raw.size,
            ready: raw.ready,
            desc_table: raw.desc_table,
            avail_ring: raw.avail_ring,
            used_ring: raw.used_ring,
            next_avail: raw.next_avail,
            next_used: raw.next_used,
        }
    }
}
