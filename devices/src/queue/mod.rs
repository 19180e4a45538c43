//! A split virtqueue (virtio 1.2, section 2.7) that does not believe its driver.
//!
//! It wraps rust-vmm's `Queue`, which knows the rings, and adds what it leaves to its callers: errors instead of silence
//! for broken rings and chains, bounds, no allocation per request, and suppressed interrupts in both ways that exist.
//! Devices own their queues between start and stop.

mod chain;
mod state;
#[cfg(test)]
mod tests;

use std::num::Wrapping;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryError};

use crate::GuestMemory;
pub use chain::{Chain, MAX_DESCRIPTORS, Segment, total_len};
pub use state::QueueState;

/// Why a queue can't be used, or can't be used any longer.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The driver's or the snapshot's description is unusable.
    #[error("the queue's size or an address breaks the rules: {0}")]
    Description(virtio_queue::Error),
    /// A ring or the descriptor table is not in guest memory.
    #[error(
        "the queue of {size} descriptors lies outside of guest memory (descriptors {desc_table:#x}, available {avail_ring:#x}, used {used_ring:#x})"
    )]
    OutsideMemory {
        /// Descriptors.
        size: u16,
        /// Guest physical address.
        desc_table: u64,
        /// Guest physical address.
        avail_ring: u64,
        /// Guest physical address.
        used_ring: u64,
    },
    /// A ring can't be read or written, or its index jumped.
    #[error("the available or used ring is broken: {0}")]
    Ring(virtio_queue::Error),
    /// A chain is endless, incomplete, empty, too long or badly ordered.
    #[error("the descriptor chain that begins at {head} {what}")]
    Chain {
        /// The first descriptor's index.
        head: u16,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A queue that a device works with.
#[derive(Debug)]
pub struct Virtqueue {
    queue: Queue,
    /// The used ring's index when the driver was last considered for an interrupt.
    considered: Wrapping<u16>,
}

impl Virtqueue {
    /// Checks a description and makes a queue of it.
    ///
    /// # Errors
    /// [`QueueError`] if size or alignment are wrong, or, for a queue that is ready, if its rings are not in guest memory.
    pub fn new(
        state: QueueState,
        event_idx: bool,
        memory: &GuestMemory,
    ) -> Result<Self, QueueError> {
        let queue = Queue::try_from(state.to_raw(event_idx)).map_err(QueueError::Description)?;
        // An available ring at address 0 is what rust-vmm takes for "never set up".
        if state.ready && (state.avail_ring == 0 || !queue.is_valid(memory)) {
            return Err(QueueError::OutsideMemory {
                size: state.size,
                desc_table: state.desc_table,
                avail_ring: state.avail_ring,
                used_ring: state.used_ring,
            });
        }
        Ok(Self {
            considered: Wrapping(queue.next_used()),
            queue,
        })
    }

    /// Where the queue is now.
    #[must_use]
    pub fn state(&self) -> QueueState {
        QueueState::from_raw(self.queue.state())
    }

    /// Whether the driver set the queue up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.queue.ready()
    }

    /// How many requests it can have at a time.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Takes the next request, if there is one, into `chain`; false if there is none.
    ///
    /// # Errors
    /// [`QueueError`] if the driver broke the rules. The queue is of no use afterwards, and the device should say so.
    pub fn pop(&mut self, memory: &GuestMemory, chain: &mut Chain) -> Result<bool, QueueError> {
        chain.readable.clear();
        chain.writable.clear();
        if !self.queue.ready() {
            return Ok(false);
        }
        let mut available = self.queue.iter(memory).map_err(QueueError::Ring)?;
        let Some(descriptors) = available.next() else {
            return Ok(false);
        };
        chain.head = descriptors.head_index();
        copy_descriptors(descriptors, chain)?;
        Ok(true)
    }

    /// Puts back the request that [`Virtqueue::pop`] took last, for want of something else that it needs.
    pub fn unpop(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Gives a request back to the driver. `written` bytes of its writable part were filled.
    ///
    /// # Errors
    /// [`QueueError`] if the used ring can't be written.
    pub fn push(
        &mut self,
        memory: &GuestMemory,
        chain: &Chain,
        written: u32,
    ) -> Result<(), QueueError> {
        self.queue
            .add_used(memory, chain.head, written)
            .map_err(QueueError::Ring)
    }

    /// Gives several requests back at once, so that the driver sees all of them or none: the buffers of one frame (virtio
    /// 1.2, section 5.1.6.3.2).
    ///
    /// # Errors
    /// [`QueueError`] if the used ring can't be written.
    pub fn push_together<'a>(
        &mut self,
        memory: &GuestMemory,
        used: impl IntoIterator<Item = (&'a Chain, u32)>,
    ) -> Result<(), QueueError> {
        let mut next = Wrapping(self.queue.next_used());
        let mut last = None;
        for request in used {
            if let Some((chain, written)) = last.replace(request) {
                self.write_used(memory, next.0, chain, written)
                    .map_err(|error| QueueError::Ring(virtio_queue::Error::GuestMemory(error)))?;
                next += 1;
            }
        }
        let Some((chain, written)) = last else {
            return Ok(());
        };
        // The last one moves the ring's index, past all that were written above.
        self.queue.set_next_used(next.0);
        self.push(memory, chain, written)
    }

    fn write_used(
        &self,
        memory: &GuestMemory,
        index: u16,
        chain: &Chain,
        written: u32,
    ) -> Result<(), GuestMemoryError> {
        let slot = index % self.queue.size();
        let mut element = [0; 8];
        element[..4].copy_from_slice(&u32::from(chain.head).to_le_bytes());
        element[4..].copy_from_slice(&written.to_le_bytes());
        let at = GuestAddress(self.queue.used_ring())
            .checked_add(4 + u64::from(slot) * 8)
            .ok_or(GuestMemoryError::InvalidBackendAddress)?;
        memory.write_slice(&element, at)
    }

    /// Whether the driver wants an interrupt for what was pushed since the last call.
    ///
    /// # Errors
    /// [`QueueError`] if the available ring can't be read.
    pub fn wants_interrupt(&mut self, memory: &GuestMemory) -> Result<bool, QueueError> {
        // What was pushed must be seen before what the driver wants is read.
        fence(Ordering::SeqCst);
        if self.queue.event_idx_enabled() {
            let behind = 4 + u64::from(self.queue.size()) * 2;
            let event = Wrapping(Self::load(self.queue.avail_ring(), behind, memory)?);
            let now = Wrapping(self.queue.next_used());
            let before = std::mem::replace(&mut self.considered, now);
            // Whether the index that the driver waits for was passed (section 2.7.7.2); all wraps around.
            return Ok(now - event - Wrapping(1) < now - before);
        }
        let flags = Self::load(self.queue.avail_ring(), 0, memory)?;
        Ok(u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    /// A number of a ring.
    fn load(ring: u64, offset: u64, memory: &GuestMemory) -> Result<u16, QueueError> {
        let at = GuestAddress(ring)
            .checked_add(offset)
            .ok_or(QueueError::Ring(virtio_queue::Error::AddressOverflow))?;
        memory
            .load(at, Ordering::Relaxed)
            .map(u16::from_le)
            .map_err(|error| QueueError::Ring(virtio_queue::Error::GuestMemory(error)))
    }

    /// Asks for no kicks while the queue is being worked on. With EVENT_IDX that is so anyway.
    ///
    /// # Errors
    /// [`QueueError`] if the used ring can't be written.
    pub fn silence(&mut self, memory: &GuestMemory) -> Result<(), QueueError> {
        if !self.queue.ready() {
            return Ok(());
        }
        self.queue
            .disable_notification(memory)
            .map_err(QueueError::Ring)
    }

    /// Asks for a kick when something comes; true if something already did, so that the queue must be looked at again.
    ///
    /// # Errors
    /// [`QueueError`] if a ring can't be accessed.
    pub fn listen(&mut self, memory: &GuestMemory) -> Result<bool, QueueError> {
        if !self.queue.ready() {
            return Ok(false);
        }
        self.queue
            .enable_notification(memory)
            .map_err(QueueError::Ring)
    }

    /// How many buffers the driver has offered so far, whether or not they were taken; the count wraps around.
    ///
    /// # Errors
    /// The ring is outside of the guest's memory.
    pub fn offered(&self, memory: &GuestMemory) -> Result<u16, QueueError> {
        let index = self.queue.avail_idx(memory, Ordering::Acquire);
        index.map(|index| index.0).map_err(QueueError::Ring)
    }

    /// Asks the driver to notify when it offers more than it has, though buffers may be there that were not taken; the count of
    /// [`Virtqueue::offered`] from before.
    ///
    /// # Errors
    /// The ring is outside of the guest's memory.
    pub fn listen_behind(&mut self, memory: &GuestMemory) -> Result<u16, QueueError> {
        let offered = self.offered(memory)?;
        let next = self.queue.next_avail();
        // What is written for the driver is where the device would take the next buffer.
        self.queue.set_next_avail(offered);
        let enabled = self.queue.enable_notification(memory);
        self.queue.set_next_avail(next);
        enabled.map(|_| offered).map_err(QueueError::Ring)
    }
}

/// Copies all descriptors of a chain. rust-vmm's iterator ends alike at the end of a chain and where one is broken; what
/// the last descriptor says about a next one tells the two apart.
fn copy_descriptors(
    descriptors: virtio_queue::DescriptorChain<&GuestMemory>,
    chain: &mut Chain,
) -> Result<(), QueueError> {
    let head = chain.head;
    let broken = |what| Err(QueueError::Chain { head, what });
    let mut goes_on = true;
    for descriptor in descriptors {
        if chain.readable.len() + chain.writable.len() == MAX_DESCRIPTORS {
            return broken("has more than 1024 descriptors");
        }
        let segment = Segment {
            addr: descriptor.addr(),
            len: descriptor.len(),
        };
        if descriptor.is_write_only() {
            chain.writable.push(segment);
        } else if chain.writable.is_empty() {
            chain.readable.push(segment);
        } else {
            return broken("has a readable buffer behind a writable one");
        }
        goes_on = descriptor.has_next();
    }
    if goes_on {
        return broken("is empty, endless, or leads out of its table");
    }
    Ok(())
}
