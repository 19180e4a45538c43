//! From registers to devices: one core that knows the specification, and thin transports over it.

mod core;
mod mmio;
mod state;
pub mod status;
#[cfg(test)]
mod tests;

pub use self::core::{Area, Core, Half, VERSION_1};
pub use mmio::{MMIO_SIZE, MmioTransport, QUEUE_NOTIFY, Written};
pub use state::{RestoreError, TransportState};
