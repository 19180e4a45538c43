//! One request's buffers, copied out of the descriptor table.
//!
//! A descriptor is read once, here; devices then work with the copy, so a guest that changes the table meanwhile changes
//! nothing. A chain is kept and filled again for the next request, so requests cost no allocation.

use vm_memory::GuestAddress;

/// The longest chain that is taken, in descriptors. The specification allows as many as the queue has entries; Linux
/// makes longer ones in indirect tables. It equals the kernel's limit for vectored I/O.
pub const MAX_DESCRIPTORS: usize = 1024;

/// A piece of guest memory. It may lie anywhere, even outside of the guest's memory: whoever uses it must expect an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Guest physical address.
    pub addr: GuestAddress,
    /// Bytes.
    pub len: u32,
}

/// The buffers of one request: first all that the device reads, then all that it writes (virtio 1.2, section 2.7.4.2).
#[derive(Debug, Default)]
pub struct Chain {
    pub(super) head: u16,
    pub(super) readable: Vec<Segment>,
    pub(super) writable: Vec<Segment>,
}

impl Chain {
    /// A chain with no buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A chain whose request was read, and whose reply is still to come.
    pub(crate) fn of_reply(head: u16, writable: Vec<Segment>) -> Self {
        Self {
            head,
            readable: Vec::new(),
            writable,
        }
    }

    /// Becomes the same as another chain, in the memory that it has.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.head = other.head;
        self.readable.clone_from(&other.readable);
        self.writable.clone_from(&other.writable);
    }

    /// The index of the first descriptor; it names the chain in the used ring.
    #[must_use]
    pub fn head(&self) -> u16 {
        self.head
    }

    /// What the driver wrote for the device.
    #[must_use]
    pub fn readable(&self) -> &[Segment] {
        &self.readable
    }

    /// Where the device may write for the driver.
    #[must_use]
    pub fn writable(&self) -> &[Segment] {
        &self.writable
    }
}

/// The sum of all lengths in bytes.
#[must_use]
pub fn total_len(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| u64::from(segment.len)).sum()
}
