//! What a microVM is told and what it answers: plain data, no I/O.
//!
//! `hull-vmm` reads a [`VmConfig`] and ends with the status of an [`ExitCause`]; the engine writes the one and
//! maps the other. The names are Firecracker's wherever Firecracker has the thing.

pub mod config;
mod exit;
pub mod profile;

pub use config::{ConfigError, VmConfig};
pub use exit::ExitCause;
pub use profile::HostProfile;
