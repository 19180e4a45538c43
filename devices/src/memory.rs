//! The guest's memory as every device sees it.

use vm_memory::bitmap::AtomicBitmap;

/// Guest memory. The bitmap, where there is one, records pages that devices wrote, so that a snapshot can tell what
/// changed; without it nothing is recorded and nothing is paid. Cloning copies references, not memory.
pub type GuestMemory = vm_memory::GuestMemoryMmap<Option<AtomicBitmap>>;
