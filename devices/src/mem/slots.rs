//! What must happen outside of the device when memory changes hands.

use std::fmt;
use std::io;
use std::ops::Range;

/// The VMM's side of the region: whether the processor sees a slot. Implemented with KVM's memory slots
/// (KVM_SET_USER_MEMORY_REGION with the slot's size, or with size 0).
///
/// Called on the thread of the device, while vCPUs run.
pub trait Slots: Send + fmt::Debug {
    /// The first block of slot `index` is about to be plugged; its guest physical addresses are `range`.
    ///
    /// # Errors
    /// If the slot can't be shown. The driver is told to try later.
    fn show(&mut self, index: usize, range: Range<u64>) -> io::Result<()>;

    /// The last block of a slot was unplugged; its memory goes back to the host after this.
    ///
    /// # Errors
    /// If the slot can't be hidden. It counts as shown, and this comes again when it is empty again.
    fn hide(&mut self, index: usize, range: Range<u64>) -> io::Result<()>;
}

/// All of the region is shown from the start, as one slot; the host's memory is only used as far as the guest touches it.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneSlot;

impl Slots for OneSlot {
    fn show(&mut self, _index: usize, _range: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn hide(&mut self, _index: usize, _range: Range<u64>) -> io::Result<()> {
        Ok(())
    }
}
