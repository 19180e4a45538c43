//! Things to do at once, and the state to be in.

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// Something to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Start the machine.
    InstanceStart,
    /// Write the VMM's figures now.
    FlushMetrics,
    /// Press Ctrl-Alt-Del on the guest's keyboard, which most guests take as a wish to reboot.
    SendCtrlAltDel,
    /// A non-maskable interrupt for every vCPU, for debugging. Hull's own.
    SendNmi,
    /// Press the power button, a polite wish to power off. Hull's own.
    SendPowerButton,
}

/// The body of `PUT /actions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionBody {
    /// What to do.
    pub action_type: Action,
}

/// What a machine that was started is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmState {
    /// Stand still.
    Paused,
    /// Run.
    Resumed,
}

/// The body of `PATCH /vm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmBody {
    /// What to do.
    pub state: VmState,
    /// It has stood still when its devices' requests that were in flight are done as well: then nothing writes to its disks any more, and they
    /// can be copied. Hull's own field.
    #[serde(default, skip_serializing_if = "crate::config::is_false")]
    pub settle: bool,
}

impl VmBody {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self {
                state: VmState::Resumed,
                settle: true,
            } => Err(ConfigError::conflict(
                "vm.settle: what is resumed goes on with its requests; leave it out",
            )),
            _ => Ok(()),
        }
    }
}
