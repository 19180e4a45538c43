//! What a vsock device saves.

use serde::{Deserialize, Serialize};

/// The saved state of a vsock device. Connections are not in it, for their sockets can't be: a guest that is restored is
/// told that all are gone (section 5.10.6.7, device events).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VsockState {
    /// The guest's address.
    pub guest_cid: u64,
}

/// Why there is no vsock device.
#[derive(Debug, thiserror::Error)]
pub enum VsockError {
    /// The address means something else, or nothing.
    #[error("a guest can't have the CID {0}: give it one between 3 and 4294967294")]
    Cid(u64),
    /// The kernel refused.
    #[error("can't wait for a vsock device's sockets")]
    Epoll(#[source] std::io::Error),
}
