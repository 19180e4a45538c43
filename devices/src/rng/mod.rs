//! virtio-rng (virtio 1.2, section 5.4): random bytes from the host's kernel.

mod device;
mod state;
#[cfg(test)]
mod tests;

pub use device::Rng;
pub use state::{RngRestoreError, RngState};
