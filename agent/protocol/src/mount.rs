//! What is mounted in the container's root.

use serde::{Deserialize, Serialize};

/// A mount. Those of one request are made in the order of their targets' depth, so that none covers one that belongs into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, an absolute path in the container, resolved inside its root; made if it is missing.
    pub target: String,
    /// What.
    pub source: MountSource,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file system in memory.
    Tmpfs {
        /// Options as `docker run --tmpfs PATH:OPTIONS` takes them: `size=64m,mode=1777,exec`...
        options: String,
    },
    /// An anonymous volume: a directory on the writable disk that starts as a copy of what the image has at the target.
    Volume {
        /// The directory's name on the disk: letters, digits, `_`, `.` and `-`, not starting with a dot.
        name: String,
    },
    /// A directory of the host, by virtio-fs.
    Share(Share),
    /// A socket of the host, by vsock.
    Socket(HostSocket),
}

/// A Unix stream socket of the host. The guest has one in its place, and what connects to that goes on to a port of the host. There is one
/// mount for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSocket {
    /// The port of the host.
    pub port: u32,
    /// Permissions of the socket's file, the lowest nine bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A directory of the host, or something in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The tag of the virtio-fs device. A device is mounted once; in tests a directory of the machine.
    pub tag: String,
    /// What of the share is mounted, a relative path without links: a directory, or a file. Empty for all of it.
    pub path: String,
    /// The container may not write to it.
    pub read_only: bool,
    /// If it is empty, it is filled with what the image has at the target: owners, modes, times, links, extended attributes.
    pub fill: bool,
    /// Set-user-id bits and file capabilities have no effect.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Nothing can be executed.
    pub noexec: bool,
}
