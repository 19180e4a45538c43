//! What a disk saves, and what it can't be.

use std::io;

use serde::{Deserialize, Serialize};

use super::config::{BlockConfig, MAX_QUEUES};
use super::disk::{Disk, DiskError};
use crate::rate::{RateRestoreError, RateState};

/// The saved state of a disk. Its contents are not in it: restoring takes the same files, open again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockState {
    /// As it was made. The engine may be changed before the disk is restored on another host.
    pub config: BlockConfig,
    /// Sectors of 512 bytes.
    pub capacity: u64,
    /// Bytes in the smallest piece that the driver reads or writes.
    pub block_size: u32,
    /// Whether the guest can't write.
    pub read_only: bool,
    /// Whether the guest left the cache in writeback mode.
    pub writeback: bool,
    /// The limits, and what is left in their buckets.
    pub rate: RateState,
}

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// None, or too many.
    #[error("a disk can't have {0} queues; give it 1 to {MAX_QUEUES}")]
    Queues(u16),
    /// The kernel refused.
    #[error("can't wait for a disk's events")]
    Events(#[source] io::Error),
    /// No io_uring, or one that can't be restricted.
    #[error(
        "this host has no io_uring for a disk (Linux 5.10 or newer, and not turned off by kernel.io_uring_disabled); use the engine that needs none"
    )]
    IoUring(#[source] io::Error),
}

/// Why a saved state did not become a disk.
#[derive(Debug, thiserror::Error)]
pub enum BlockRestoreError {
    /// The file was changed, or it is another.
    #[error(
        "the saved disk has {saved} sectors, but the files given for it have {given}: give the same files"
    )]
    Capacity {
        /// Sectors then.
        saved: u64,
        /// Sectors now.
        given: u64,
    },
    /// What the driver was told does not hold.
    #[error(transparent)]
    Unlike(#[from] UnlikeDisk),
    /// The limits make no sense.
    #[error(transparent)]
    Rate(#[from] RateRestoreError),
    /// As for a new disk.
    #[error(transparent)]
    Block(#[from] BlockError),
}

/// Why contents can't take the place of others: the driver learned something at its start that would not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnlikeDisk {
    /// A guest that may write would fail on a disk that can't.
    #[error("the disk {} but the file given for it {}", can_write(!*.was), can_write(!*.given))]
    ReadOnly {
        /// Read-only then.
        was: bool,
        /// Read-only now.
        given: bool,
    },
    /// The driver's blocks are too small for the new file.
    #[error(
        "the disk's blocks have {was} bytes but those of the file given for it have {given}: open it without O_DIRECT"
    )]
    BlockSize {
        /// Bytes then.
        was: u32,
        /// Bytes now.
        given: u32,
    },
}

/// Why a disk's contents were not changed; it goes on with those that it had.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// They are too different.
    #[error(transparent)]
    Unlike(#[from] UnlikeDisk),
    /// The file can't be a disk any more.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The kernel does not take the files.
    #[error("the disk's io_uring does not take other files")]
    Files(#[source] io::Error),
    /// Others wait to take their place already.
    #[error(
        "other contents wait already until the disk's requests in flight are done; try again then"
    )]
    Twice,
}

/// Whether a driver that began with a disk can go on with another.
pub(super) fn check_likeness(
    read_only: bool,
    block_size: u32,
    disk: &Disk,
) -> Result<(), UnlikeDisk> {
    if read_only != disk.is_read_only() {
        return Err(UnlikeDisk::ReadOnly {
            was: read_only,
            given: disk.is_read_only(),
        });
    }
    if disk.block_size() > block_size {
        return Err(UnlikeDisk::BlockSize {
            was: block_size,
            given: disk.block_size(),
        });
    }
    Ok(())
}

fn can_write(can: bool) -> &'static str {
    if can {
        "can be written"
    } else {
        "is read-only"
    }
}
