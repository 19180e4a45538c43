//! One process is one microVM.
//!
//! [`run`] is all of it: read the configuration, open what it names, make the machine, run it to its end. One thread is the
//! event loop (devices, signals, the lifeline); each vCPU has a thread of its own. What a PC looks like is `hull-arch`'s
//! business, what a device does `hull-devices`'; here they meet KVM.

mod api;
pub mod args;
pub mod bus;
pub mod command_line;
pub mod counters;
mod cpu;
mod diagnosis;
mod emulate;
pub mod ending;
mod error;
pub mod files;
mod gate;
mod images;
mod kick;
pub mod kvm;
pub mod legacy;
mod log;
mod machine;
pub mod memory;
mod metrics;
mod output;
mod outside;
mod power_button;
pub mod probe;
mod run;
mod running;
mod signals;
pub mod socket;
mod supported;
pub mod timeline;
mod vcpu;
mod vcpus;
mod virtio;

pub use error::StartError;
pub use run::{print_profile, run};
