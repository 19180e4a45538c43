//! What a user may say about an entropy device.

use serde::{Deserialize, Serialize};

use crate::rate::RateConfig;

/// What a user may say about an entropy device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RngConfig {
    /// How much may pass: random bytes, and requests.
    pub rate: RateConfig,
}
