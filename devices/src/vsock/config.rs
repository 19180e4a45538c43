//! What a user may say about a vsock device, and what the VMM hands over.

use std::fmt;
use std::os::unix::net::UnixListener;

use super::connector::Connector;

/// What a user may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VsockConfig {
    /// The guest's address: 3 or more, below 2^32 - 1.
    pub guest_cid: u64,
}

/// The host's end.
pub struct VsockBackend {
    /// Where clients on the host connect; without it they can't.
    pub listener: Option<UnixListener>,
    /// Who makes the connections that the guest asks for.
    pub connector: Box<dyn Connector>,
    /// Called once, on the event loop, when the guest first asks for a connection, whether it gets one or not.
    pub on_first_connection: Option<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for VsockBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VsockBackend")
            .field("listener", &self.listener)
            .field("connector", &self.connector)
            .finish_non_exhaustive()
    }
}
