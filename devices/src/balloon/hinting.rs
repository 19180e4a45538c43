//! Runs of free page hinting (virtio 1.2, section 5.5.6.4).
//!
//! A run has a number. The host puts it into the configuration space; the driver answers with the number in its queue, then
//! with the pages that are free, which it holds on to, then with [`HINT_STOP`]; when the host says [`HINT_DONE`], the driver
//! lets go of them.

use serde::{Deserialize, Serialize};

/// The command that ends a run, from the guest; from the host: nothing was asked for yet.
pub const HINT_STOP: u32 = 0;
/// The command with which the host lets the guest use the pages again.
pub const HINT_DONE: u32 = 1;
/// The first number that a run can have.
const FIRST: u32 = 2;

/// How far hinting is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HintingStatus {
    /// The host's last command: the number of a run, or one of the constants.
    pub host_cmd: u32,
    /// The guest's last command, once there was one.
    pub guest_cmd: Option<u32>,
}

/// The state of hinting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hinting {
    status: HintingStatus,
    /// The last run's number.
    last_run: u32,
    /// Whether the guest's end of a run ends it for the host too.
    acknowledge_on_stop: bool,
}

impl Hinting {
    pub(super) fn status(&self) -> HintingStatus {
        self.status
    }

    /// Begins a run. One that is under way is given up.
    pub(super) fn start(&mut self, acknowledge_on_stop: bool) {
        self.last_run = self.last_run.checked_add(1).unwrap_or(FIRST).max(FIRST);
        self.acknowledge_on_stop = acknowledge_on_stop;
        self.status.host_cmd = self.last_run;
    }

    /// Ends a run.
    pub(super) fn stop(&mut self) {
        self.status.host_cmd = HINT_DONE;
    }

    /// Takes a command of the guest; whether the host's command changed by it.
    pub(super) fn take_command(&mut self, command: u32) -> bool {
        let was_running = self.is_running();
        self.status.guest_cmd = Some(command);
        let ends = was_running && command == HINT_STOP && self.acknowledge_on_stop;
        if ends {
            self.stop();
        }
        ends
    }

    /// Whether the guest's pages are those of the run that was asked for.
    pub(super) fn is_running(&self) -> bool {
        self.status.host_cmd >= FIRST && self.status.guest_cmd == Some(self.status.host_cmd)
    }

    /// The driver is gone; a run that was asked for is asked of the next one.
    pub(super) fn reset(&mut self) {
        self.status.guest_cmd = None;
    }
}
