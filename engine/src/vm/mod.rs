//! The microVM of a container, seen from outside: its configuration and its process.

mod config;
mod machine;
pub mod plain;

pub(crate) use config::{Descriptors, Disks, MachineSpec, boot, load};
pub use machine::MachineError;
pub(crate) use machine::{Ended, Launch, Machine};
