//! What a container is doing, as `state.json` holds it.

use jiff::Timestamp;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, never started.
    Created,
    /// Its microVM runs, or is being started.
    Running,
    /// Its microVM is there, and its vCPUs stand still.
    Paused,
    /// Its microVM is in files, and goes on when it is resumed.
    Suspended,
    /// Its process ended, or its microVM did.
    Exited,
}

/// The changing part of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Where it is in its life.
    pub status: Status,
    /// The exit code as Docker gives it, once the container has exited.
    pub exit_code: Option<u8>,
    /// Why the container did not start or end as asked; empty for a plain exit.
    pub error: String,
    /// Whether the guest's kernel killed the process for lack of memory.
    pub oom_killed: bool,
    /// The process of the microVM while it runs.
    pub vmm: Option<HostProcess>,
    /// The process that runs the container.
    pub owner: Option<HostProcess>,
    /// When the container was made.
    pub created: Timestamp,
    /// When its process was started last.
    pub started: Option<Timestamp>,
    /// When it ended last.
    pub finished: Option<Timestamp>,
}

/// A process of the host, told from a later one with the same number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostProcess {
    /// Its process id on the host.
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks since the host's boot.
    pub start_time: u64,
}

impl HostProcess {
    /// The process that asks.
    pub(crate) fn this() -> Option<Self> {
        Self::of(std::process::id().try_into().ok()?)
    }

    /// The process that has this number now.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in brackets and may hold anything.
        let start_time = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
        Some(Self { pid, start_time })
    }

    /// Sends it a signal, if it is still the same.
    pub(crate) fn signal(self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return;
        };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
            return;
        };
        if Self::of(self.pid) == Some(self) {
            let _ = pidfd_send_signal(handle, signal);
        }
    }
}

impl State {
    /// A container that has just been made.
    pub(crate) fn created(now: Timestamp) -> Self {
        Self {
            status: Status::Created,
            exit_code: None,
            error: String::new(),
            oom_killed: false,
            vmm: None,
            owner: None,
            created: now,
            started: None,
            finished: None,
        }
    }

    /// Records a start: how it ended before is of no interest any more.
    pub(crate) fn runs(&mut self, vmm: HostProcess, now: Timestamp) {
        self.status = Status::Running;
        self.vmm = Some(vmm);
        self.started = Some(now);
        self.exit_code = None;
        self.error.clear();
        self.oom_killed = false;
    }

    /// What becomes of a running container whose owner has died: its microVM died with it.
    pub(crate) fn abandoned(&mut self, now: Timestamp) {
        self.exited(137, now);
        "the process that ran this container was killed".clone_into(&mut self.error);
    }

    /// Records that the machine is in files.
    pub(crate) fn suspended(&mut self, now: Timestamp) {
        self.status = Status::Suspended;
        self.vmm = None;
        self.owner = None;
        self.finished = Some(now);
    }

    /// Records an end.
    pub(crate) fn exited(&mut self, code: u8, now: Timestamp) {
        self.status = Status::Exited;
        self.exit_code = Some(code);
        self.vmm = None;
        self.owner = None;
        self.finished = Some(now);
    }
}
