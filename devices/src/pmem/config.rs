//! What a user may say about persistent memory besides its files, and what the driver reads about it (virtio 1.2, section
//! 5.19.4).

use serde::{Deserialize, Serialize};

use super::mapping::{MAPPING_ALIGN, Mapping};
use super::state::PmemError;
use crate::rate::RateConfig;

/// What a user may say about persistent memory besides its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PmemConfig {
    /// The guest physical address at which the VMM shows the mapping: a multiple of [`MAPPING_ALIGN`].
    pub address: u64,
    /// How many flushes may pass. They have no bytes.
    pub rate: RateConfig,
}

impl PmemConfig {
    /// Checks that a mapping fits there.
    pub(super) fn check(&self, mapping: &Mapping) -> Result<(), PmemError> {
        let fits = self.address.checked_add(mapping.size()).is_some();
        if fits && self.address.is_multiple_of(MAPPING_ALIGN) {
            Ok(())
        } else {
            Err(PmemError::Address(self.address))
        }
    }
}

/// The configuration space: where, and how many bytes.
pub(super) fn config_space(address: u64, size: u64) -> [u8; 16] {
    let mut space = [0; 16];
    for (place, field) in space.chunks_exact_mut(8).zip([address, size]) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    space
}
