//! virtio-mem (virtio 1.2, section 5.15): memory that comes and goes while the guest runs.
//!
//! The device has a region of guest physical addresses in blocks, all of them unplugged at first. The VMM requests a size,
//! and the driver plugs and unplugs blocks until that much is plugged. The device lets it have no more than that, and what
//! is unplugged goes back to the host.
//! A reset of the device changes nothing of what is plugged: the memory may hold a kernel that is about to start.
//!
//! The region is part of the guest's memory (`GuestMemory`) from the start, mapped without reservation, so that devices
//! can reach what gets plugged. Reading what is not plugged gives zeros and costs nothing. Whether the processor can reach
//! it is up to the VMM's [`Slots`]: with [`OneSlot`] a hostile guest can write to memory that it did not plug; slots that
//! come and go stop it at the granularity of a slot. What they do not stop is a driver that names such memory as a buffer for
//! a device to fill: against that, the region's size is the limit, and the VMM's memory limit (its cgroup).

mod blocks;
mod config;
mod device;
mod request;
mod slots;
mod state;
#[cfg(test)]
mod tests;

pub use config::{MAX_BLOCKS, MIN_BLOCK_SIZE, MemConfig, MemConfigError};
pub use device::{Mem, MemCounters, MemStatus};
pub use slots::{OneSlot, Slots};
pub use state::{MemRestoreError, MemState};
