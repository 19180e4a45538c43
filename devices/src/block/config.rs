//! What a user may say about a disk, and what the driver reads about it (virtio 1.2, section 5.2.4).

use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX,
    VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_WRITE_ZEROES,
};

use super::disk::Disk;
use super::serial::Serial;
use crate::rate::RateConfig;

/// Bytes in a sector, the unit of all positions of this device, whatever its block size.
pub(super) const SECTOR: u64 = 512;
/// The most buffers in one request, so that with header and status it fits the queue.
pub(super) const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
pub(super) const QUEUE_SIZE: u16 = 256;
/// The most queues that a disk can have.
pub const MAX_QUEUES: u16 = 16;
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

/// How the host's files are read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// One request after the other, on the device's thread.
    #[default]
    Sync,
    /// Many requests at once, by io_uring.
    IoUring,
}

/// What a user may say about a disk besides its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockConfig {
    /// What the guest reads as the disk's serial number.
    pub serial: Serial,
    /// What a flush means.
    pub cache: CacheMode,
    /// How requests are done.
    pub engine: Engine,
    /// How many queues there are, 1 to [`MAX_QUEUES`]: one for each vCPU keeps them from waiting for each other.
    pub queues: u16,
    /// How much may pass at first. What counts later is the limiter's state.
    pub rate: RateConfig,
}

impl Default for BlockConfig {
    fn default() -> Self {
        Self {
            serial: Serial::default(),
            cache: CacheMode::default(),
            engine: Engine::default(),
            queues: 1,
            rate: RateConfig::default(),
        }
    }
}

/// The features of a disk.
pub(super) fn features(config: &BlockConfig, read_only: bool) -> u64 {
    let mut bits = vec![
        VIRTIO_BLK_F_SIZE_MAX,
        VIRTIO_BLK_F_SEG_MAX,
        VIRTIO_BLK_F_BLK_SIZE,
        VIRTIO_BLK_F_TOPOLOGY,
    ];
    if config.queues > 1 {
        bits.push(VIRTIO_BLK_F_MQ);
    }
    if read_only {
        bits.push(VIRTIO_BLK_F_RO);
    } else {
        bits.extend([VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES]);
        if config.cache == CacheMode::Writeback {
            bits.extend([VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE]);
        }
    }
    bits.iter().fold(0, |all, bit| all | 1 << bit)
}

/// The configuration space. Fields of features that are not offered are zero.
pub(super) fn config_space(
    disk: &Disk,
    block: u32,
    queues: u16,
    writeback: bool,
) -> [u8; CONFIG_SIZE] {
    let mut space = [0; CONFIG_SIZE];
    let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &disk.capacity().to_le_bytes());
    put(8, &SIZE_MAX.to_le_bytes());
    put(12, &SEG_MAX.to_le_bytes());
    // The host's file system really writes blocks of 4 KiB: as so many (a power of two) of the disk's blocks they are the
    // least that the guest should write at once. There is no size that suits best.
    let in_page = (4096 / block.max(1)).max(1);
    put(20, &block.to_le_bytes());
    let exponent = u8::try_from(in_page.ilog2()).unwrap_or(0);
    let [least, least_high, ..] = in_page.to_le_bytes();
    put(24, &[exponent, 0, least, least_high]);
    put(WRITEBACK, &[writeback.into()]);
    if queues > 1 {
        put(34, &queues.to_le_bytes());
    }
    if !disk.is_read_only() {
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
