//! What persistent memory saves, and what it can't be.

use std::io;

use serde::{Deserialize, Serialize};

use super::config::PmemConfig;
use crate::rate::{RateRestoreError, RateState};

/// The saved state of persistent memory. Its contents are not in it: restoring takes the same files, mapped again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PmemState {
    /// As it was made.
    pub config: PmemConfig,
    /// Bytes in the mapping.
    pub size: u64,
    /// Whether the guest can't write.
    pub read_only: bool,
    /// The limits, and what is left in their buckets.
    pub rate: RateState,
}

/// Why there is no persistent memory.
#[derive(Debug, thiserror::Error)]
pub enum PmemError {
    /// Not aligned, or too high.
    #[error("persistent memory can't lie at {0:#x}: that is no multiple of 2 MiB, or too high")]
    Address(u64),
    /// The kernel refused.
    #[error("can't wait for the limit of persistent memory")]
    Events(#[source] io::Error),
}

/// Why a saved state did not become persistent memory.
#[derive(Debug, thiserror::Error)]
pub enum PmemRestoreError {
    /// The files were changed, or they are others.
    #[error(
        "the saved persistent memory has {saved} bytes, but the files given for it make {given}: give the same files"
    )]
    Size {
        /// Bytes then.
        saved: u64,
        /// Bytes now.
        given: u64,
    },
    /// A guest that may write would fail on memory that can't be written, or the other way round.
    #[error("the saved persistent memory was read-only: {saved}; what is given for it is: {given}")]
    ReadOnly {
        /// Then.
        saved: bool,
        /// Now.
        given: bool,
    },
    /// The limits make no sense.
    #[error(transparent)]
    Rate(#[from] RateRestoreError),
    /// As for new memory.
    #[error(transparent)]
    Pmem(#[from] PmemError),
}
