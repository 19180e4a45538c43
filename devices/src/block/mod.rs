//! virtio-blk (virtio 1.2, section 5.2) over raw files: one that can be written, or several read-only ones in a row.
//!
//! ```text
//! config.rs, serial.rs   what a user may say      disk.rs, space.rs, direct.rs   the contents
//! request.rs, ranges.rs  one request              flights.rs, ring.rs            many at once, by io_uring
//! device.rs, serve.rs    the device               batch.rs                       one after the other, by a thread
//! counters.rs, state.rs  what it did, what it saves
//! ```

mod batch;
mod config;
mod counters;
mod device;
mod direct;
mod disk;
mod flights;
mod ranges;
mod request;
mod ring;
mod serial;
mod serve;
mod space;
mod state;
#[cfg(test)]
mod tests;

pub use config::{BlockConfig, CacheMode, Engine, MAX_QUEUES};
pub use counters::BlockCounters;
pub use device::{Block, OnReplaced};
pub use disk::{Disk, DiskError, PART_ALIGN};
pub use serial::{BadSerial, Serial};
pub use state::{BlockError, BlockRestoreError, BlockState, ReplaceError, UnlikeDisk};
