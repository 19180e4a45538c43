//! What the guest says about its memory (virtio 1.2, section 5.5.6.3), by the names of Firecracker's API.

use serde::{Deserialize, Serialize};

use crate::iov::{BadBuffer, Span};

/// Bytes of one statistic: tag, value.
const ENTRY: usize = 10;
/// The most that is read of one buffer. Linux has 16 statistics.
const MAX_ENTRIES: usize = 64;

/// The guest's last statistics. What a guest does not count is none. None of it is to be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BalloonStatistics {
    /// Bytes swapped in.
    pub swap_in: Option<u64>,
    /// Bytes swapped out.
    pub swap_out: Option<u64>,
    /// Major page faults.
    pub major_faults: Option<u64>,
    /// Minor page faults.
    pub minor_faults: Option<u64>,
    /// Bytes that are used for nothing.
    pub free_memory: Option<u64>,
    /// Bytes that there are.
    pub total_memory: Option<u64>,
    /// Bytes, as estimated, that can be had without swapping.
    pub available_memory: Option<u64>,
    /// Bytes that can be had at once: caches of files.
    pub disk_caches: Option<u64>,
    /// Huge pages that were allocated.
    pub hugetlb_allocations: Option<u64>,
    /// Huge pages that could not be.
    pub hugetlb_failures: Option<u64>,
    /// Processes that were killed for want of memory.
    pub oom_kill: Option<u64>,
    /// Allocations that had to wait.
    pub alloc_stall: Option<u64>,
    /// Bytes looked at by the background reclaimer.
    pub async_scan: Option<u64>,
    /// Bytes looked at by those that wait.
    pub direct_scan: Option<u64>,
    /// Bytes reclaimed in the background.
    pub async_reclaim: Option<u64>,
    /// Bytes reclaimed by those that wait.
    pub direct_reclaim: Option<u64>,
}

impl BalloonStatistics {
    /// Reads a buffer of the statistics queue. Unknown statistics, and a rest that is no whole one, are skipped.
    ///
    /// # Errors
    /// [`BadBuffer`] if it is not in guest memory.
    pub(super) fn read(buffer: Span<'_>) -> Result<Self, BadBuffer> {
        let mut bytes = [0; ENTRY * MAX_ENTRIES];
        let count = buffer.copy_out(&mut bytes)?;
        Ok(Self::parse(bytes.get(..count).unwrap_or_default()))
    }

    /// Makes sense of what a guest wrote.
    #[doc(hidden)]
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut all = Self::default();
        for entry in bytes.chunks_exact(ENTRY) {
            let Ok([t0, t1, value @ ..]) = <[u8; ENTRY]>::try_from(entry) else {
                continue;
            };
            let value = u64::from_le_bytes(value);
            if let Some(place) = all.place(u16::from_le_bytes([t0, t1])) {
                *place = Some(value);
            }
        }
        all
    }

    fn place(&mut self, tag: u16) -> Option<&mut Option<u64>> {
        Some(match tag {
            0 => &mut self.swap_in,
            1 => &mut self.swap_out,
            2 => &mut self.major_faults,
            3 => &mut self.minor_faults,
            4 => &mut self.free_memory,
            5 => &mut self.total_memory,
            6 => &mut self.available_memory,
            7 => &mut self.disk_caches,
            8 => &mut self.hugetlb_allocations,
            9 => &mut self.hugetlb_failures,
            10 => &mut self.oom_kill,
            11 => &mut self.alloc_stall,
            12 => &mut self.async_scan,
            13 => &mut self.direct_scan,
            14 => &mut self.async_reclaim,
            15 => &mut self.direct_reclaim,
            _ => return None,
        })
    }
}
