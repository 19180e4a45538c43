//! One microVM: a keeper, and the process of its machine.
//!
//! [`run`] is all of it. The [`keeper`] reads the configuration, opens what it names and serves the API; the machine's process makes the
//! machine and runs it to its end ([`inside`]). There one thread is the event loop; each vCPU has a thread of its own. What a PC looks like is `hull-arch`'s
//! business, what a device does `hull-devices`'; here they meet KVM.

mod affinity;
mod api;
pub mod args;
pub mod bus;
pub mod command_line;
mod complete;
mod cpu;
mod diagnosis;
mod emulate;
pub mod ending;
mod error;
pub mod files;
mod gate;
mod images;
mod inside;
mod keeper;
mod kick;
pub mod kvm;
mod last_words;
pub mod legacy;
mod log;
mod lost_memory;
mod machine;
pub mod memory;
pub mod metrics;
mod outside;
mod power_button;
pub mod probe;
mod program;
mod ready;
mod relay;
mod restarts;
mod run;
mod running;
pub mod sandbox;
mod serial;
mod signals;
pub mod snapshot;
pub mod socket;
pub mod timeline;
mod vcpu;
mod vcpus;
mod virtio;

pub use error::StartError;
pub use run::{print_filters, print_profile, print_snapshot_version, run};
