//! What a console is connected to.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

/// Where a console's bytes go and come from. Any kind of descriptor does. Terminals should be non-blocking; pipes, sockets
/// and files need not be, because at most 4 KiB are written at a time, and only when there is room.
#[derive(Debug)]
pub struct ConsoleBackend {
    /// What the guest writes goes here.
    pub output: OwnedFd,
    /// What the guest reads comes from here.
    pub input: Option<OwnedFd>,
}

/// VIRTIO_CONSOLE_F_SIZE (virtio 1.2, section 5.3.3): columns and rows are in the configuration space.
pub(super) const SIZE: u64 = 1;

/// The size of the terminal at which a person sits, in characters. 0 by 0 if that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl ConsoleSize {
    /// The beginning of the configuration space: the fields behind are those of features that are not offered.
    pub(super) fn space(self) -> [u8; 4] {
        let ([c0, c1], [r0, r1]) = (self.columns.to_le_bytes(), self.rows.to_le_bytes());
        [c0, c1, r0, r1]
    }
}
