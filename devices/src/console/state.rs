//! What a console saves.

use serde::{Deserialize, Serialize};

use super::config::ConsoleSize;

/// The saved state of a console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleState {
    /// Bytes of the first request in the transmit queue that were already written.
    pub sent: u32,
    /// The terminal's size.
    pub size: ConsoleSize,
}

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The kernel refused.
    #[error("can't wait for a console's input and output")]
    Epoll(#[source] std::io::Error),
}
