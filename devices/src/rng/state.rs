//! What an entropy device saves.

use serde::{Deserialize, Serialize};

use crate::rate::{RateRestoreError, RateState};

/// The saved state of an entropy device. Randomness that was not asked for is not drawn in advance, so there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RngState {
    /// The limits, and what is left in their buckets.
    pub rate: RateState,
}

/// Why a saved state did not become an entropy device.
#[derive(Debug, thiserror::Error)]
pub enum RngRestoreError {
    /// The limits make no sense.
    #[error(transparent)]
    Rate(#[from] RateRestoreError),
    /// The kernel refused.
    #[error("can't wait for an entropy device's limit")]
    Events(#[source] std::io::Error),
}
