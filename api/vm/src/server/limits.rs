//! What a client can take of the server.

use std::time::Duration;

/// Bounds of requests and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a body (`--http-api-max-payload-size`).
    pub max_payload: usize,
    /// Most bytes of a request's line and header fields together.
    pub max_head: usize,
    /// Most connections at once.
    pub max_connections: usize,
    /// How long a connection must have been idle to be closed in favour of one more, and how long that one waits for a place
    /// before it is refused.
    pub place_time: Duration,
    /// From the first byte of a request to its last.
    pub request_time: Duration,
    /// For the VMM to answer.
    pub answer_time: Duration,
    /// For a client to take an answer.
    pub write_time: Duration,
}

impl Default for Limits {
    /// Firecracker's 51200 bytes of payload, and 16 connections.
    fn default() -> Self {
        Self {
            max_payload: 51_200,
            max_head: 16 << 10,
            max_connections: 16,
            place_time: Duration::from_secs(1),
            request_time: Duration::from_secs(10),
            // A snapshot of a large guest to a slow disk takes minutes.
            answer_time: Duration::from_secs(600),
            write_time: Duration::from_secs(10),
        }
    }
}
