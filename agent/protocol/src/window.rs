//! Credit: how much of a stream may be under way. Both ends keep one window per stream.

/// The sender's side: what it may still send.
#[derive(Debug, Clone, Copy)]
pub struct SendWindow {
    limit: u32,
    available: u32,
}

/// The receiver's side: what it has promised to take, and what it took.
#[derive(Debug, Clone, Copy)]
pub struct ReceiveWindow {
    limit: u32,
    available: u32,
    unreturned: u32,
}

/// The peer did not keep to its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes when {available} of a window of {limit} were left")]
pub struct Overrun {
    bytes: u64,
    available: u32,
    limit: u32,
}

impl SendWindow {
    /// A full window of `limit` bytes.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            available: limit,
        }
    }

    /// Bytes that may be sent now.
    #[must_use]
    pub fn available(&self) -> usize {
        usize::try_from(self.available).unwrap_or(usize::MAX)
    }

    /// Takes note that `bytes` were sent, which is at most [`available`](Self::available).
    pub fn sent(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.available = self.available.saturating_sub(bytes);
    }

    /// Adds credit from the peer.
    ///
    /// # Errors
    /// The peer gives back more than it was sent.
    pub fn credit(&mut self, bytes: u32) -> Result<(), Overrun> {
        let Self { limit, available } = *self;
        match available.checked_add(bytes) {
            Some(sum) if sum <= limit => {
                self.available = sum;
                Ok(())
            }
            _ => Err(Overrun {
                bytes: bytes.into(),
                available: limit - available,
                limit,
            }),
        }
    }
}

impl ReceiveWindow {
    /// A full window of `limit` bytes.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            available: limit,
            unreturned: 0,
        }
    }

    /// Takes note that `bytes` arrived.
    ///
    /// # Errors
    /// More than the peer may send.
    pub fn received(&mut self, bytes: usize) -> Result<(), Overrun> {
        let Self {
            limit, available, ..
        } = *self;
        match u32::try_from(bytes)
            .ok()
            .and_then(|bytes| available.checked_sub(bytes))
        {
            Some(left) => {
                self.available = left;
                Ok(())
            }
            None => {
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                Err(Overrun {
                    bytes,
                    available,
                    limit,
                })
            }
        }
    }

    /// Takes note that `bytes` of what arrived were passed on, and says how much credit to send
    /// now: none until half of the window is due, so that small pieces cost no message each.
    #[must_use]
    pub fn consumed(&mut self, bytes: usize) -> Option<u32> {
        let outstanding = self.limit - self.available;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.unreturned = self.unreturned.saturating_add(bytes).min(outstanding);
        if self.unreturned < self.limit / 2 {
            return None;
        }
        let due = std::mem::take(&mut self.unreturned);
        self.available += due;
        Some(due)
    }
}

#[cfg(test)]
mod tests;
