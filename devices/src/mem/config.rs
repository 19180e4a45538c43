//! What a user may say about memory that can be plugged, and what the driver reads about it (virtio 1.2, section 5.15.4).

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE (section 5.15.3): drivers must not touch what is not plugged.
pub(super) const UNPLUGGED_INACCESSIBLE: u64 = 1 << 1;

/// The smallest block in bytes: a huge page.
pub const MIN_BLOCK_SIZE: u64 = 2 << 20;
/// The most blocks. It bounds the device's own memory and the time that one request takes.
pub const MAX_BLOCKS: u64 = 1 << 20;

/// What a user may say about memory that can be plugged. All sizes and addresses are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemConfig {
    /// The guest physical address of the region: a multiple of the block size.
    pub address: u64,
    /// How much can be plugged at most: a multiple of the slot size.
    pub region_size: u64,
    /// What can be plugged at once: a power of two from [`MIN_BLOCK_SIZE`] on.
    pub block_size: u64,
    /// What the VMM shows to the processor at once: a multiple of the block size.
    pub slot_size: u64,
    /// How much should be plugged: a multiple of the block size.
    pub requested_size: u64,
}

/// Why there can't be such memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemConfigError {
    /// Not a power of two, or too small.
    #[error(
        "hot-plugged memory's block size is {0} bytes; it must be a power of two from 2 MiB on"
    )]
    BlockSize(u64),
    /// Not a number of blocks.
    #[error(
        "hot-plugged memory's slot size is {slot} bytes; it must be a multiple of its block size, {block} bytes"
    )]
    SlotSize {
        /// Bytes.
        slot: u64,
        /// Bytes.
        block: u64,
    },
    /// Empty, or not a number of slots.
    #[error(
        "hot-plugged memory has {region} bytes; it must be a multiple of its slot size, {slot} bytes"
    )]
    RegionSize {
        /// Bytes.
        region: u64,
        /// Bytes.
        slot: u64,
    },
    /// More than [`MAX_BLOCKS`].
    #[error(
        "hot-plugged memory has {0} blocks, and at most 1048576 are possible: use larger blocks"
    )]
    TooManyBlocks(u64),
    /// Not aligned, or beyond the last address.
    #[error(
        "hot-plugged memory can't lie at {0:#x}: that is no multiple of its block size, or too high"
    )]
    Address(u64),
    /// Not a number of blocks, or more than there are.
    #[error(
        "{requested} bytes of hot-plugged memory were requested; it must be a multiple of {block}, and at most {region}"
    )]
    Requested {
        /// Bytes.
        requested: u64,
        /// Bytes.
        block: u64,
        /// Bytes.
        region: u64,
    },
}

impl MemConfig {
    /// Checks that the numbers fit together.
    ///
    /// # Errors
    /// [`MemConfigError`] if they don't.
    pub fn check(&self) -> Result<(), MemConfigError> {
        let block = self.block_size;
        if !block.is_power_of_two() || block < MIN_BLOCK_SIZE {
            return Err(MemConfigError::BlockSize(block));
        }
        if self.slot_size == 0 || !self.slot_size.is_multiple_of(block) {
            return Err(MemConfigError::SlotSize {
                slot: self.slot_size,
                block,
            });
        }
        if self.region_size == 0 || !self.region_size.is_multiple_of(self.slot_size) {
            return Err(MemConfigError::RegionSize {
                region: self.region_size,
                slot: self.slot_size,
            });
        }
        if self.region_size / block > MAX_BLOCKS {
            return Err(MemConfigError::TooManyBlocks(self.region_size / block));
        }
        if !self.address.is_multiple_of(block)
            || self.address.checked_add(self.region_size).is_none()
        {
            return Err(MemConfigError::Address(self.address));
        }
        self.check_requested(self.requested_size)
    }

    pub(super) fn check_requested(&self, requested: u64) -> Result<(), MemConfigError> {
        if requested.is_multiple_of(self.block_size) && requested <= self.region_size {
            return Ok(());
        }
        Err(MemConfigError::Requested {
            requested,
            block: self.block_size,
            region: self.region_size,
        })
    }

    /// How many blocks the region has. Checked to be few.
    pub(super) fn blocks(&self) -> usize {
        usize::try_from(self.region_size / self.block_size).unwrap_or(0)
    }

    pub(super) fn blocks_in_slot(&self) -> usize {
        usize::try_from(self.slot_size / self.block_size)
            .unwrap_or(0)
            .max(1)
    }

    /// The guest physical addresses of some blocks, which are in the region.
    pub(super) fn addresses(&self, blocks: &Range<usize>) -> Range<u64> {
        let at = |block: usize| {
            let block = u64::try_from(block).unwrap_or(u64::MAX);
            self.address
                .saturating_add(block.saturating_mul(self.block_size))
        };
        at(blocks.start)..at(blocks.end)
    }

    /// The configuration space. All of the region can be used, so `usable_region_size` is its size.
    pub(super) fn space(&self, plugged_size: u64) -> [u8; 56] {
        let mut space = [0; 56];
        let fields = [
            self.block_size,
            // node_id, which is only there with ACPI, and padding.
            0,
            self.address,
            self.region_size,
            self.region_size,
            plugged_size,
            self.requested_size,
        ];
        for (place, field) in space.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        space
    }
}
