//! The microVM of a container, seen from outside: its configuration and its process.

mod config;
mod machine;
pub mod plain;
mod priority;
mod stats;
mod traffic;

pub(crate) use config::{Descriptors, Disks, MachineSpec, boot, load, memory_mib};
pub use machine::MachineError;
pub(crate) use machine::{Ended, Launch, Machine};
pub(crate) use priority::Priority;
pub use stats::VmStats;
pub(crate) use traffic::Said;
pub use traffic::VmTraffic;
