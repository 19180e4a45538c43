//! virtio-net (virtio 1.2, section 5.1) over a TAP device, or over a stream to another process.
//!
//! ```text
//! config.rs    what a user may say, features      state.rs     what is saved
//! device.rs    queues and events                  control.rs   the control queue's commands
//! receive.rs   TAP to guest                       transmit.rs  guest to TAP
//! port.rs      either of these, behind a pair     counters.rs  for metrics
//! tap.rs       the descriptors and their ioctls   stream.rs    frames with their length
//! frame.rs     headers of frames                  filter.rs    the addresses that the guest may use
//! events.rs    what is waited for                 spill.rs     what is left of a large frame
//! dhcp.rs      the guest's address, told to it    mmds/        the metadata service
//! ```
//!
//! Both of the last answer the guest without a network. Frames go between a TAP and the guest's buffers without a copy; of what
//! the guest sends only the first bytes are copied, because what was checked must be what is sent. A stream's frames are copied, for
//! their boundaries are found only by reading. Nothing here waits: a TAP or a stream that is full or empty is waited for
//! edge-triggered, and so are guests without buffers, so neither can make the event loop spin.

mod config;
mod control;
mod counters;
mod device;
mod dhcp;
mod events;
mod filter;
mod frame;
pub mod mmds;
mod port;
mod receive;
mod spill;
mod state;
mod stream;
mod tap;
#[cfg(test)]
mod tests;
mod transmit;

pub use config::{MAX_PAIRS, MacAddress, NetBackend, NetConfig, NoMacAddress};
pub use control::Command;
pub use counters::{Counters, Direction, DirectionCounters};
pub use device::Net;
pub use dhcp::Lease;
pub use filter::SourceFilter;
pub use frame::Checksum;
pub use port::Port;
pub use state::{NetError, NetState};
pub use stream::{Stream, StreamError};
pub use tap::{Tap, TapError};
