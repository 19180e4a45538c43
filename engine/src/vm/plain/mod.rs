//! Plain microVMs: machines that run what a person names, without a container and without an agent.
//!
//! [`MicroVms`] is the door. What a machine is to be is a [`VmSpec`]; on disk it is a directory of its own with a lock that its
//! owner holds, as a container's is: the process that runs it ([`Owned`], then [`Running`]), in the foreground or behind
//! `hull vm start`. Other processes reach it by what it says on disk, by its API's socket and by its console's.

mod console;
mod control;
mod error;
mod kind;
mod known;
mod log;
mod name;
mod net;
mod owned;
mod partition;
mod root;
mod saved;
mod saving;
mod shelf;
mod snapshot;
mod spec;
#[cfg(test)]
mod tests;
mod wire;

pub use super::stats::VmStats;
pub use console::Terminal;
pub use control::MicroVms;
pub use error::{SpecError, VmError};
pub use log::{Follow, LogReader};
pub use name::{InvalidVmName, VmName};
pub use net::{NetSpec, NetTarget};
pub use owned::{Ask, Owned, Running, Screen, VmEnd};
pub use root::RootSpec;
pub use saving::VmChanges;
pub use shelf::{Listed, VmRecord, VmState, VmStatus};
pub use snapshot::{VmSnapshot, VmSnapshots, VmTaken};
pub use spec::{ConsoleKind, DiskSpec, ScreenSize, ShareSpec, VmSpec};
pub use wire::VmNet;
