//! What a container uses, and its processes.

use serde::{Deserialize, Serialize};

/// The use of the machine by the container, since its control group was made. What the guest's kernel does not count is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// When this was read, in microseconds since the guest's kernel started.
    pub at_us: u64,
    /// Time on the CPUs.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads now.
    pub pids: u64,
    /// How many there may be; `None` without a limit.
    pub pids_max: Option<u64>,
    /// What was read from and written to each disk.
    pub disks: Vec<DiskStats>,
    /// What went through each interface of the network, without loopback.
    pub interfaces: Vec<InterfaceStats>,
}

/// Time on the CPUs, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuStats {
    /// Altogether.
    pub usage_us: u64,
    /// In user mode.
    pub user_us: u64,
    /// In the kernel.
    pub system_us: u64,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time for which processes had to wait for that reason.
    pub throttled_us: u64,
    /// How many CPUs the machine has.
    pub online: u32,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// In use, the page cache included.
    pub current: u64,
    /// The most that ever was.
    pub peak: u64,
    /// The limit; `None` without one.
    pub max: Option<u64>,
    /// What the machine has.
    pub machine: u64,
    /// How often something was refused, or taken back, because of the limit.
    pub max_events: u64,
    /// How many processes were killed for want of memory.
    pub oom_kills: u64,
    /// All of the kernel's `memory.stat`: `anon`, `file`, `inactive_file` and so on, at most [`MAX_DETAIL`](MemoryStats::MAX_DETAIL).
    pub detail: Vec<(String, u64)>,
}

impl MemoryStats {
    /// The most entries of [`detail`](MemoryStats::detail).
    pub const MAX_DETAIL: usize = 128;

    /// An entry of `memory.stat`, 0 if there is none.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        let entry = self.detail.iter().find(|(known, _)| known == name);
        entry.map_or(0, |(_, value)| *value)
    }
}

/// What was read from and written to a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStats {
    /// The disk's numbers as a device.
    pub major: u32,
    /// The second of them.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Requests to read.
    pub reads: u64,
    /// Requests to write.
    pub writes: u64,
}

/// What went through an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStats {
    /// Its name in the container.
    pub name: String,
    /// What came.
    pub received: Traffic,
    /// What went.
    pub sent: Traffic,
}

/// One direction of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets with errors.
    pub errors: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

/// The processes of the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// When this was read, in microseconds since the guest's kernel started.
    pub at_us: u64,
    /// How many there are.
    pub total: u32,
    /// The first of them, as many as a message holds; long command lines are cut.
    pub list: Vec<ProcessInfo>,
}

/// A process of the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its id in the container.
    pub pid: u32,
    /// That of its parent; 0 if the parent is not in the container.
    pub ppid: u32,
    /// Its effective user.
    pub uid: u32,
    /// The name of the user in the container's `passwd`, or the number.
    pub user: String,
    /// Its terminal, as `ps` says it: `pts/0`, `?` without one.
    pub tty: String,
    /// `R`, `S`, `D`, `T`, `Z`... as `ps` says it.
    pub state: char,
    /// Its nice value.
    pub nice: i32,
    /// Its threads.
    pub threads: u32,
    /// When it started, in microseconds since the guest's kernel did.
    pub started_us: u64,
    /// Its time on the CPUs, in microseconds.
    pub cpu_us: u64,
    /// Bytes of its memory that are there.
    pub rss: u64,
    /// Bytes of its address space.
    pub vsz: u64,
    /// The name of its program.
    pub name: String,
    /// Its command line; empty if it has none any more.
    pub arguments: Vec<String>,
}
