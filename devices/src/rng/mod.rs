//! virtio-rng (virtio 1.2, section 5.4): random bytes from the host's kernel.

mod config;
mod device;
mod state;
#[cfg(test)]
mod tests;

pub use config::RngConfig;
pub use device::{Rng, RngCounters};
pub use state::{RngRestoreError, RngState};
