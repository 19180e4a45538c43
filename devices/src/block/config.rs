//! What a user may say about a disk, and what the driver reads about it (virtio 1.2, section 5.2.4).

use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_WRITE_ZEROES,
};

/// Bytes in a sector, the unit of all positions of this device, whatever its block size.
pub(super) const SECTOR: u64 = 512;
/// The most buffers in one request, so that with header and status it fits the queue.
pub(super) const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
pub(super) const QUEUE_SIZE: u16 = 256;
/// The most bytes in one buffer.
pub(super) const SIZE_MAX: u32 = 128 << 10;
/// The most bytes that one request moves: what the two limits above allow. It bounds the time that it takes.
pub(super) const MAX_BYTES: u64 = SEG_MAX as u64 * SIZE_MAX as u64;
/// The most ranges in one discard request.
pub(super) const MAX_DISCARD_RANGES: u32 = 32;
/// The most ranges in one write-zeroes request: where zeros must be written, that takes long enough.
pub(super) const MAX_ZEROES_RANGES: u32 = 1;
/// The most sectors in one of these ranges: 1 GiB where the file system can do it by itself.
pub(super) const MAX_DISCARD_SECTORS: u32 = (1 << 30) / 512;
/// The same for zeroes, which may have to be written.
pub(super) const MAX_ZEROES_SECTORS: u32 = (8 << 20) / 512;

/// Where `writeback` is in the configuration space.
const WRITEBACK: usize = 32;
const CONFIG_SIZE: usize = 60;

/// What a flush from the guest means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheMode {
    /// The guest's flushes reach the disk. Safe.
    #[default]
    Writeback,
    /// The guest can't flush: fast, and a crash of the host loses what was written.
    Unsafe,
}

/// What a user may say about a disk besides its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockConfig {
    /// What the guest reads as the disk's serial number. At most 20 bytes are kept.
    pub id: String,
    /// What a flush means.
    pub cache: CacheMode,
}

/// The features of a disk.
pub(super) fn features(read_only: bool, cache: CacheMode) -> u64 {
    let mut bits = vec![
        VIRTIO_BLK_F_SIZE_MAX,
        VIRTIO_BLK_F_SEG_MAX,
        VIRTIO_BLK_F_BLK_SIZE,
        VIRTIO_BLK_F_TOPOLOGY,
    ];
    if read_only {
        bits.push(VIRTIO_BLK_F_RO);
    } else {
        bits.extend([VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES]);
        if cache == CacheMode::Writeback {
            bits.extend([VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE]);
        }
    }
    bits.iter().fold(0, |all, bit| all | 1 << bit)
}

/// The configuration space. Fields of features that are not offered are zero.
pub(super) fn config_space(capacity: u64, read_only: bool, writeback: bool) -> [u8; CONFIG_SIZE] {
    let mut space = [0; CONFIG_SIZE];
    let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &capacity.to_le_bytes());
    put(8, &SIZE_MAX.to_le_bytes());
    put(12, &SEG_MAX.to_le_bytes());
    // Blocks of 512 bytes; the host's file system really writes 8 of them (2 to the power of 3), so that is the least
    // that the guest should write at once. There is no size that suits best.
    put(20, &512_u32.to_le_bytes());
    put(24, &[3, 0, 8, 0]);
    put(WRITEBACK, &[writeback.into()]);
    if !read_only {
        put(36, &MAX_DISCARD_SECTORS.to_le_bytes());
        put(40, &MAX_DISCARD_RANGES.to_le_bytes());
        // Discards of whole 4 KiB blocks give space back; smaller ones are done in vain.
        put(44, &8_u32.to_le_bytes());
        put(48, &MAX_ZEROES_SECTORS.to_le_bytes());
        put(52, &MAX_ZEROES_RANGES.to_le_bytes());
        put(56, &[1]);
    }
    space
}

/// What a write into the configuration space says about the cache, if that is what it writes.
pub(super) fn written_writeback(offset: u64, data: &[u8]) -> Option<bool> {
    match (usize::try_from(offset), data) {
        (Ok(WRITEBACK), [value]) => Some(*value != 0),
        _ => None,
    }
}
