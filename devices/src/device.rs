//! What a virtio device is to the rest of the VMM.
//!
//! A device knows its queues, the guest's memory and its backend. It knows no transport, no KVM and no jail, and it opens
//! nothing. It is *started* with its queues and *stopped* into their states, and this is the only door: pause is stop
//! and later start; a snapshot is stop, save and start; a reset is stop and [`VirtioDevice::reset`].
//!
//! Threads: `start`, `stop`, `reset` and the configuration space are called from vCPU threads (by way of registers) or
//! from whoever pauses the microVM; `notify` and `poll` from the event loop. The transport's lock lets only one in at a
//! time, so a device needs no lock of its own, but **no call may wait for the host**: not for a file, which may lie on a
//! server that does not answer. What may take long is a [`Job`], which the thread that noticed the request does without the
//! lock. So a dead backend stalls the queue that uses it, and neither a vCPU that looks at a register nor a pause. What
//! else a device lets the VMM do while it runs (another target, another file, counters) are methods of its type, called
//! through the same lock: [`crate::MmioTransport::with_device`].

use std::any::Any;
use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::balloon::BalloonState;
use crate::block::BlockState;
use crate::console::ConsoleState;
use crate::fs::FsState;
use crate::mem::MemState;
use crate::metrics::Metrics;
use crate::net::NetState;
use crate::pmem::PmemState;
use crate::rng::RngState;
use crate::vsock::VsockState;
use crate::{GuestMemory, Notifier, QueueState, Virtqueue};

/// Device IDs (virtio 1.2, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DeviceType {
    /// virtio-net, section 5.1.
    Net = 1,
    /// virtio-blk, section 5.2.
    Block = 2,
    /// virtio-console, section 5.3.
    Console = 3,
    /// virtio-rng, section 5.4.
    Rng = 4,
    /// virtio-balloon, section 5.5.
    Balloon = 5,
    /// virtio-vsock, section 5.10.
    Vsock = 19,
    /// virtio-mem, section 5.15.
    Mem = 24,
    /// virtio-fs, section 5.11.
    Fs = 26,
    /// virtio-pmem, section 5.19.
    Pmem = 27,
}

/// What a device runs with between start and stop.
#[derive(Debug)]
pub struct Resources {
    /// The guest's memory.
    pub memory: GuestMemory,
    /// One entry for each queue of [`VirtioDevice::queue_sizes`], in order; those that the driver did not set up are not
    /// ready and pop nothing.
    pub queues: Vec<Virtqueue>,
    /// The features that were negotiated, a subset of those offered.
    pub features: u64,
    /// The way to the driver.
    pub notifier: Notifier,
}

/// Whether a device is through with what was there to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Nothing is left until the next event.
    Done,
    /// The device stopped half-way, so that others get their turn; call `notify` again for the same queue.
    More,
}

/// Work that may take as long as it likes: done on the thread that got it, without any lock. It has all that it needs.
pub trait Job: Any + Send + fmt::Debug {
    /// Does it.
    fn run(&mut self);
}

/// What follows when a job is done: the queues to look at again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub enum Finished {
    /// Nothing.
    #[default]
    Quietly,
    /// There may be more in this queue.
    Queue(u16),
    /// There may be more in any queue.
    AllQueues,
}

/// Why a device did not start. The transport then marks it as needing a reset.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The transport handed over another number of queues than the device has.
    #[error("the device was started with {given} queues but has {wanted}")]
    Queues {
        /// How many came.
        given: usize,
        /// How many the device has.
        wanted: usize,
    },
}

/// What a stopped device saves of itself: plain data, and untrusted when it comes back. It becomes a device only through
/// the fallible `restore` of its type.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DeviceState {
    /// See [`crate::balloon::Balloon::restore`].
    Balloon(BalloonState),
    /// See [`crate::block::Block::restore`].
    Block(BlockState),
    /// See [`crate::console::Console::restore`].
    Console(ConsoleState),
    /// See [`crate::fs::Fs::restore`].
    Fs(FsState),
    /// See [`crate::mem::Mem::restore`].
    Mem(MemState),
    /// See [`crate::net::Net::restore`].
    Net(NetState),
    /// See [`crate::pmem::Pmem::restore`].
    Pmem(PmemState),
    /// See [`crate::rng::Rng::restore`].
    Rng(RngState),
    /// See [`crate::vsock::Vsock::restore`].
    Vsock(VsockState),
}

/// A virtio device. See the module for who calls it when.
pub trait VirtioDevice: Any + Send + fmt::Debug {
    /// What the device is.
    fn device_type(&self) -> DeviceType;

    /// The largest size of each queue, in descriptors: powers of two up to 32768.
    fn queue_sizes(&self) -> &[u16];

    /// The device's own features (bits 0 to 23, and 50 up). The transport adds VERSION_1, EVENT_IDX and INDIRECT_DESC.
    fn features(&self) -> u64;

    /// Fills `data` with what is at `offset` in the configuration space; zeros where nothing is. Any offset and size can
    /// come.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Takes what the driver wrote into the configuration space. Any offset and size can come; what is not writable is
    /// ignored.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    /// Begins to work. What was already in the queues is announced by `notify`.
    ///
    /// # Errors
    /// [`StartError`] if it can't work with what it got; the device then is as it was before.
    fn start(&mut self, resources: Resources) -> Result<(), StartError>;

    /// Ends work, without waiting: requests in flight stay with the device, which gives them back after the next start. The
    /// states are those of all queues, in order; empty if the device was not started. What the device keeps besides
    /// (connections, half-written output) it still has at the next start.
    fn stop(&mut self) -> Vec<QueueState>;

    /// How many requests the host still works on. While there are any, their buffers in the guest's memory may change, also
    /// if the device is stopped; no ring does. A device is only reset or saved when there are none.
    fn in_flight(&self) -> usize {
        0
    }

    /// The next piece of work that may take long, if there is one. [`VirtioDevice::finish`] follows when it is done. Called
    /// after `notify`, `poll` and `finish`.
    fn take_job(&mut self) -> Option<Box<dyn Job>> {
        None
    }

    /// Takes back a job that is done, also if the device was stopped meanwhile.
    fn finish(&mut self, _job: Box<dyn Job>) -> Finished {
        Finished::default()
    }

    /// Waits for requests that were left to the kernel and are no job. Only for a device that is about to be saved.
    fn drain(&mut self) {}

    /// The driver kicked a queue. Called for stopped devices too, which ignore it.
    fn notify(&mut self, queue: u16) -> Progress;

    /// A descriptor that is readable when the device wants [`VirtioDevice::poll`]: its own epoll set, the same one as long
    /// as the device lives.
    fn poll_fd(&self) -> Option<RawFd> {
        None
    }

    /// Takes events from [`VirtioDevice::poll_fd`] until it is not readable, or leaves some for the next turn. Called for
    /// stopped devices too: they remember what happened, or the event loop would spin. After [`Progress::More`] all queues
    /// are announced again.
    fn poll(&mut self) -> Progress {
        Progress::Done
    }

    /// Forgets all that came from the driver. Only called for stopped devices.
    fn reset(&mut self) {}

    /// What it counts, which can be read at any time without the device.
    fn metrics(&self) -> Arc<dyn Metrics>;

    /// What must be saved besides the queues. Only called for stopped devices.
    fn save(&self) -> DeviceState;
}

/// Copies what a configuration space has at `offset`; what is beyond it is left as it was.
pub(crate) fn read_space(space: &[u8], offset: u64, data: &mut [u8]) {
    let rest = usize::try_from(offset)
        .ok()
        .and_then(|offset| space.get(offset..));
    for (target, source) in data.iter_mut().zip(rest.unwrap_or_default()) {
        *target = *source;
    }
}
