//! A microVM at one moment, as `GET /hull/stats` tells of it.

use jiff::Timestamp;
use serde::Deserialize;

/// One that runs.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Machine {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image: Option<String>,
    pub(super) paused: bool,
    pub(super) started: Option<Timestamp>,
    /// When this was.
    pub(super) read: Timestamp,
    /// Processor time since its start, in milliseconds.
    pub(super) cpu_ms: u64,
    /// vCPUs.
    pub(super) cpus: Option<u32>,
    pub(super) memory: Memory,
    pub(super) disk: Option<Disk>,
    pub(super) network: Option<Network>,
    /// Of a container, as its guest counts them.
    pub(super) processes: Option<u64>,
}

/// In bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Memory {
    pub(super) own: u64,
    pub(super) shared: u64,
    /// Its share, where memory is shared: those of all add up to what there is.
    pub(super) proportional: u64,
    pub(super) limit: Option<u64>,
}

/// In bytes since its start.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Disk {
    pub(super) read: u64,
    pub(super) written: u64,
}

/// In bytes since its start.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Network {
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Machine {
    /// Its share of one processor since it was looked at before, in percent.
    pub(super) fn cpu_since(&self, before: &Self) -> Option<f64> {
        let elapsed = self.read.duration_since(before.read).as_secs_f64();
        let used = self.cpu_ms.checked_sub(before.cpu_ms)?;
        let used = std::time::Duration::from_millis(used).as_secs_f64();
        (elapsed > 0.0).then_some(used / elapsed * 100.0)
    }

    /// Whether this is the other one, some time later.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.started == other.started
    }
}
