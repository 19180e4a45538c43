//! What a disk saves.

use serde::{Deserialize, Serialize};

use super::config::CacheMode;

/// The saved state of a disk. Its contents are not in it: restoring takes the same files, open again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockState {
    /// The serial number.
    pub id: String,
    /// What a flush means.
    pub cache: CacheMode,
    /// Sectors of 512 bytes.
    pub capacity: u64,
    /// Whether the guest can't write.
    pub read_only: bool,
    /// Whether the guest left the cache in writeback mode.
    pub writeback: bool,
}

/// Why a saved state did not become a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// A guest that may write would fail on a disk that can't.
    #[error("the saved disk {} but the file given for it {}", can_write(!*.saved), can_write(!*.given))]
    ReadOnly {
        /// Read-only then.
        saved: bool,
        /// Read-only now.
        given: bool,
    },
}

fn can_write(can: bool) -> &'static str {
    if can {
        "can be written"
    } else {
        "is read-only"
    }
}
