//! virtio-console (virtio 1.2, section 5.3) with one port.

mod config;
mod device;
mod state;
mod streams;
#[cfg(test)]
mod tests;

pub use config::{ConsoleBackend, ConsoleSize};
pub use device::Console;
pub use state::{ConsoleError, ConsoleState};
