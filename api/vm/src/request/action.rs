//! Things to do at once, and the state to be in.

use serde::{Deserialize, Serialize};

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
}
