//! virtio-pmem (virtio 1.2, section 5.19): files that the guest has as memory.
//!
//! What the guest reads comes out of the host's page cache, with no copy in the guest and no request: several microVMs that have the same
//! image share its pages. Only flushes come here.
//!
//! The memory is a [`Mapping`], which the VMM makes of open files before it makes the device. The VMM
//! 1. picks a guest physical address for it, a multiple of [`MAPPING_ALIGN`], above the guest's RAM,
//! 2. gives KVM a memory slot of [`Mapping::size`] bytes at [`Mapping::host_address`], with KVM_MEM_READONLY if
//!    [`Mapping::is_read_only`], and no dirty log,
//! 3. adds [`Mapping::region`] to the guest's memory, so that the driver can name pages of files as buffers of other devices (a web
//!    server that sends a file does so), and leaves that region out when it saves memory,
//! 4. keeps the mapping until the last vCPU, device and KVM slot that could use it is gone.
//!
//! What a guest's processor writes to a read-only slot comes out as an MMIO exit, which the VMM ignores.

mod config;
mod device;
mod mapping;
mod state;
#[cfg(test)]
mod tests;

pub use config::PmemConfig;
pub use device::{Pmem, PmemCounters};
pub use mapping::{MAPPING_ALIGN, MAPPING_PART_ALIGN, Mapping, MappingError};
pub use state::{PmemError, PmemRestoreError, PmemState};
