//! virtio-blk (virtio 1.2, section 5.2) over raw files: one that can be written, or several read-only ones in a row.

mod config;
mod device;
mod disk;
mod ranges;
mod request;
mod state;
#[cfg(test)]
mod tests;

pub use config::{BlockConfig, CacheMode};
pub use device::Block;
pub use disk::{Disk, DiskError, PART_ALIGN};
pub use state::{BlockRestoreError, BlockState};
