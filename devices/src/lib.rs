//! Virtqueues, transports and one folder per virtio device.
//!
//! Devices know queues, guest memory and their backends, which come as open descriptors. There is no KVM here and no file
//! is opened here. [`device`] says what a device is and who calls it when; [`MmioTransport`] is how a VMM uses one.

#[macro_use]
pub mod metrics;

pub mod balloon;
pub mod block;
pub mod console;
pub mod device;
pub mod fs;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod interrupt;
pub mod iov;
pub mod mem;
pub mod memory;
pub mod net;
pub mod pmem;
mod poller;
pub mod queue;
pub mod rate;
mod reclaim;
pub mod rng;
pub mod serial;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code))]
mod testing;
mod timer;
pub mod transport;
pub mod vsock;
mod worker;

pub use device::{
    DeviceState, DeviceType, Finished, Job, Progress, Resources, StartError, VirtioDevice,
};
pub use interrupt::{Cause, Interrupt, Notifier};
pub use memory::GuestMemory;
pub use queue::{Chain, QueueError, QueueState, Segment, Virtqueue};
pub use transport::{
    MMIO_SIZE, MmioTransport, QUEUE_NOTIFY, RestoreError, TransportState, Written,
};
