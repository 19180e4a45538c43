//! What a disk did, for metrics.

use super::request::{Request, RequestError};

/// What a disk did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BlockCounters {
    /// Reads that were done.
    pub reads: u64,
    /// Writes that were done.
    pub writes: u64,
    /// Flushes that were done.
    pub flushes: u64,
    /// Discards and write-zeroes that were done.
    pub discards: u64,
    /// Bytes that the guest read.
    pub read_bytes: u64,
    /// Bytes that the guest wrote.
    pub write_bytes: u64,
    /// Requests that had to wait for the rate limit.
    pub throttled: u64,
    /// Requests that failed, malformed ones included.
    pub failures: u64,
    /// How often the file was changed for another, or its size was read again.
    pub updates: u64,
}

impl BlockCounters {
    pub(super) fn count(&mut self, request: &Request, result: &Result<u64, RequestError>) {
        if result.is_err() {
            self.failures += 1;
            return;
        }
        match request {
            Request::Read { len, .. } => {
                self.reads += 1;
                self.read_bytes += len;
            }
            Request::Write { len, .. } => {
                self.writes += 1;
                self.write_bytes += len;
            }
            Request::Flush => self.flushes += 1,
            Request::Ranges(_) => self.discards += 1,
            Request::Identify => {}
        }
    }
}
