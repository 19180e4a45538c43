//! What a console is connected to.

use std::os::fd::OwnedFd;

/// Where a console's bytes go and come from. Any kind of descriptor does. Terminals should be non-blocking; pipes, sockets
/// and files need not be, because at most 4 KiB are written at a time, and only when there is room.
#[derive(Debug)]
pub struct ConsoleBackend {
    /// What the guest writes goes here.
    pub output: OwnedFd,
    /// What the guest reads comes from here.
    pub input: Option<OwnedFd>,
}
