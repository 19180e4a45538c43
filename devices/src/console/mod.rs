//! virtio-console (virtio 1.2, section 5.3) with one port.

mod config;
mod counters;
mod device;
mod state;
mod streams;
#[cfg(test)]
mod tests;

pub use config::{ConsoleBackend, ConsoleSize};
pub use counters::ConsoleCounters;
pub use device::Console;
pub use state::{ConsoleError, ConsoleState};
