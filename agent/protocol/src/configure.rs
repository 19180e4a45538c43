//! `Configure`: everything that makes a booted machine this container's machine.

use serde::{Deserialize, Serialize};

use crate::mount::Mount;
use crate::network::Interface;

/// What the machine is and what it sees. Sent once, before the first process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {
    /// Names and addresses.
    pub identity: Identity,
    /// The time of day; `None` leaves the guest's clock alone.
    pub clock: Option<Clock>,
    /// Fresh random bytes for the kernel's pool, at most 512; empty leaves the pool alone.
    pub entropy: Vec<u8>,
    /// The container's root.
    pub root: Root,
    /// What is mounted in the root.
    pub mounts: Vec<Mount>,
    /// The network, beside loopback.
    pub interfaces: Vec<Interface>,
    /// What the container may use of the machine.
    pub limits: Limits,
    /// Bytes of `/dev/shm`; 64 MiB when `None`.
    pub shm_size: Option<u64>,
    /// Settings of the kernel, written in the container's namespaces before its first process starts.
    pub sysctls: Vec<Sysctl>,
    /// `/sys`, `/proc/sys` and the control groups are writable, and nothing of `/proc` is hidden.
    pub privileged: bool,
}

/// What makes a machine, configured for a container like this one, this container's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// Names and addresses, in place of those of `Configure`. A file that was empty there is not seen. `None` leaves them: it is the
    /// same container, that was away.
    pub identity: Option<Identity>,
    /// The time of day; `None` leaves the guest's clock alone.
    pub clock: Option<Clock>,
    /// Fresh random bytes for the kernel's pool, at most 512; empty leaves the pool alone.
    pub entropy: Vec<u8>,
    /// What is mounted in the root beside what `Configure` has mounted, and on top of it. Must be empty where a process was held, which
    /// has its mounts.
    pub mounts: Vec<Mount>,
    /// The network, beside loopback, in place of that of `Configure`. `None` leaves it.
    pub interfaces: Option<Vec<Interface>>,
    /// What the container may use of the machine, in place of what `Configure` says.
    pub limits: Limits,
    /// Bytes of `/dev/shm`; `None` leaves it.
    pub shm_size: Option<u64>,
    /// Settings of the kernel, after those of `Configure`. Must be empty where a process was held.
    pub sysctls: Vec<Sysctl>,
}

/// A setting of the kernel, as `docker run --sysctl NAME=VALUE` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// Its name, with dots or slashes: `net.ipv4.ip_forward`.
    pub name: String,
    /// What is written to it.
    pub value: String,
}

/// Limits of the container's control group; `None` is no limit but the machine's own.
/// [`ToAgent::Limit`](crate::ToAgent) changes them while the container runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory (`memory.max`).
    pub memory: Option<u64>,
    /// Time on the CPUs (`cpu.max`).
    pub cpu: Option<CpuQuota>,
    /// The share of the CPUs where processes beside the container want them, too (`cpu.weight`), 1 to 10 000; `None` is 100.
    pub cpu_weight: Option<u16>,
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
    /// The NIS domain name of the container, at most 64 bytes; empty leaves the kernel's.
    pub domainname: String,
    /// The content of `/etc/hosts`.
    pub hosts: String,
    /// The content of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// The content of `/etc/machine-id`, without the end of its line: 32 hexadecimal digits. Mounted only where the image has
    /// such a file.
    pub machine_id: String,
}

/// A point in time, since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Whole seconds.
    pub seconds: i64,
    /// The rest, below 1 000 000 000.
    pub nanoseconds: u32,
}

/// Where the container's root comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The image: a block device with EROFS (`/dev/vda`), or a directory of the guest.
    pub image: String,
    /// What is written: a block device with ext4 (`/dev/vdb`), or a directory of the guest. `None`
    /// keeps it in memory, and it is gone with the machine.
    pub writable: Option<String>,
    /// The container may not write to its root (volumes and tmpfs stay writable).
    pub read_only: bool,
}
