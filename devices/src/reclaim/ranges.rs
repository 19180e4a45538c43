//! Ranges of addresses, put together where they touch.

/// Ranges of guest physical addresses, as a request names them.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    /// Begin and end, not empty. Those of one request only, so their number is bounded by whoever adds them.
    ranges: Vec<(u64, u64)>,
}

impl Ranges {
    /// Adds `len` bytes from `start` on; what would be beyond the last address is cut off.
    pub(crate) fn add(&mut self, start: u64, len: u64) {
        let end = start.saturating_add(len);
        if start == end {
            return;
        }
        // Drivers name neighbours one after the other, upwards or downwards.
        match self.ranges.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            Some(last) if last.0 == end => last.0 = start,
            _ => self.ranges.push((start, end)),
        }
    }

    /// Takes all ranges: sorted, none touching another.
    pub(super) fn drain_merged(&mut self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.sort_unstable();
        self.ranges.dedup_by(|next, last| {
            let touches = next.0 <= last.1;
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
        self.ranges.drain(..)
    }
}
