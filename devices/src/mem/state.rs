//! What memory that can be plugged saves.

use serde::{Deserialize, Serialize};

use super::config::{MemConfig, MemConfigError};

/// The saved state. The memory's contents are saved with the rest of the guest's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemState {
    /// As it was last changed.
    pub config: MemConfig,
    /// A bit for each block, the first one the lowest of the first word.
    pub plugged: Vec<u64>,
}

/// Why a saved state did not become memory.
#[derive(Debug, thiserror::Error)]
pub enum MemRestoreError {
    /// The numbers don't fit together.
    #[error(transparent)]
    Config(#[from] MemConfigError),
    /// Not a bit for each block.
    #[error(
        "the saved hot-plugged memory has {blocks} blocks, but says of {bits} whether they are plugged"
    )]
    Blocks {
        /// As configured.
        blocks: usize,
        /// As saved, rounded up to 64.
        bits: usize,
    },
    /// The VMM's side failed.
    #[error("slot {index} of the hot-plugged memory can't be shown to the guest")]
    Slot {
        /// Which.
        index: usize,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
