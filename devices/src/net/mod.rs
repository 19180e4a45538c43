//! virtio-net (virtio 1.2, section 5.1) over a TAP device.
//!
//! ```text
//! config.rs    what a user may say, features      state.rs     what is saved
//! device.rs    queues and events                  control.rs   the control queue's commands
//! receive.rs   TAP to guest                       transmit.rs  guest to TAP
//! tap.rs       the descriptors and their ioctls   counters.rs  for metrics
//! frame.rs     headers of frames                  filter.rs    the addresses that the guest may use
//! events.rs    what is waited for
//! mmds/        the metadata service, answered without a network
//! ```
//!
//! Frames go between the TAP and the guest's buffers without a copy; of what the guest sends only the first bytes are
//! copied, because what was checked must be what is sent. Nothing here waits: a TAP that is full or empty is waited for
//! edge-triggered, and so are guests without buffers, so neither can make the event loop spin.

mod config;
mod control;
mod counters;
mod device;
mod events;
mod filter;
mod frame;
pub mod mmds;
mod receive;
mod state;
mod tap;
#[cfg(test)]
mod tests;
mod transmit;

pub use config::{MAX_PAIRS, MacAddress, NetBackend, NetConfig, NoMacAddress};
pub use control::Command;
pub use counters::{Counters, Direction, DirectionCounters};
pub use device::Net;
pub use filter::SourceFilter;
pub use frame::Checksum;
pub use state::{NetError, NetState};
pub use tap::{Tap, TapError};
