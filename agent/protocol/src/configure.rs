//! `Configure`: everything that makes a booted machine this container's machine.

use serde::{Deserialize, Serialize};

/// What the machine is and what it sees. Sent once, before the first process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {
    /// Names and addresses.
    pub identity: Identity,
    /// The time of day; `None` leaves the guest's clock alone.
    pub clock: Option<Clock>,
    /// Fresh random bytes for the kernel's pool, at most 512; empty leaves the pool alone.
    pub entropy: Vec<u8>,
    /// The container's root.
    pub root: Root,
    /// Memory file systems on top of it, mounted in this order.
    pub tmpfs: Vec<Tmpfs>,
    /// Directories on the writable disk on top of it, mounted in this order, before `tmpfs`.
    pub volumes: Vec<Volume>,
    /// What the container may use of the machine.
    pub limits: Limits,
    /// `/sys`, `/proc/sys` and the control groups are writable, and nothing of `/proc` is hidden.
    pub privileged: bool,
}

/// What makes a machine, configured for a container like this one, this container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// Names and addresses, in place of those of `Configure`. A file that was empty there is not seen. `None` leaves them: it is the
    /// same container, that was away.
    pub identity: Option<Identity>,
    /// The time of day; `None` leaves the guest's clock alone.
    pub clock: Option<Clock>,
    /// Fresh random bytes for the kernel's pool, at most 512; empty leaves the pool alone.
    pub entropy: Vec<u8>,
    /// What the container may use of the machine.
    pub limits: Limits,
}

/// Limits of the container's control group; `None` is no limit but the machine's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory (`memory.max`).
    pub memory: Option<u64>,
    /// Time on the CPUs (`cpu.max`).
    pub cpu: Option<CpuQuota>,
    /// Processes and threads (`pids.max`).
    pub pids: Option<u64>,
}

/// So much time in each period; more than the period when there are several CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuQuota {
    /// Microseconds of a period that may be used, at least 1000.
    pub quota_us: u64,
    /// Length of a period in microseconds, 1000 to 1 000 000.
    pub period_us: u64,
}

/// Who the container is. The files are mounted over `/etc/...`; an empty one is not mounted, and
/// the image's own is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The host name of the container, at most 64 bytes; `/etc/hostname` holds it too.
    pub hostname: String,
    /// The content of `/etc/hosts`.
    pub hosts: String,
    /// The content of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// The content of `/etc/machine-id`, without the end of its line: 32 hexadecimal digits. Mounted only where the image has
    /// such a file.
    pub machine_id: String,
}

/// A point in time, since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Whole seconds.
    pub seconds: i64,
    /// The rest, below 1 000 000 000.
    pub nanoseconds: u32,
}

/// Where the container's root comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The image: a block device with EROFS (`/dev/vda`), or a directory of the guest.
    pub image: String,
    /// What is written: a block device with ext4 (`/dev/vdb`), or a directory of the guest. `None`
    /// keeps it in memory, and it is gone with the machine.
    pub writable: Option<String>,
    /// The container may not write to its root (volumes and tmpfs stay writable).
    pub read_only: bool,
}

/// A memory file system in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where, an absolute path in the container; made if it is missing.
    pub target: String,
    /// Options as `docker run --tmpfs PATH:OPTIONS` takes them: `size=64m,mode=1777,exec`...
    pub options: String,
}

/// An anonymous volume: a directory on the writable disk that starts as a copy of what the image
/// has at that place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The directory's name on the disk: letters, digits, `_`, `.` and `-`, not starting with a dot.
    pub name: String,
    /// Where, an absolute path in the container; made if it is missing.
    pub target: String,
}
