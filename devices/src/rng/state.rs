//! What an entropy device saves: nothing, and that is checked by its type.

use serde::{Deserialize, Serialize};

/// The saved state of an entropy device. Randomness that was not asked for is not drawn in advance, so there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RngState {}

/// Why a saved state did not become an entropy device: it can't happen today, and callers need not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RngRestoreError {}
