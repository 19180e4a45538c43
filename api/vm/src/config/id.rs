//! The names of devices.

use std::collections::BTreeSet;

use super::ConfigError;

/// Most characters of an id.
pub(crate) const MAX_ID: usize = 64;

/// A kind of device of which a machine can have several, told apart by their ids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// The section of the configuration, which is also the first part of the path of the API.
    pub(crate) section: &'static str,
    /// What the id is called.
    pub(crate) field: &'static str,
    /// Most characters of an id.
    pub(crate) max_id: usize,
    /// Most devices of the kind.
    pub(crate) most: usize,
}

impl Kind {
    /// Checks one id.
    pub(crate) fn check(&self, id: &str) -> Result<(), ConfigError> {
        let word = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if word && (1..=self.max_id).contains(&id.len()) {
            return Ok(());
        }
        Err(ConfigError::Id {
            section: self.section,
            field: self.field,
            id: id.to_owned(),
            most: self.max_id,
        })
    }

    /// Checks that there are not too many, and no two of one id.
    pub(crate) fn check_all<'a>(
        &self,
        ids: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<(), ConfigError> {
        if ids.len() > self.most {
            return Err(ConfigError::TooMany {
                section: self.section,
                count: ids.len(),
                most: self.most,
            });
        }
        let mut seen = BTreeSet::new();
        for id in ids {
            if !seen.insert(id) {
                return Err(ConfigError::Duplicate {
                    section: self.section,
                    field: self.field,
                    id: id.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// There is no device of this id.
    pub(crate) fn missing(&self, id: &str) -> ConfigError {
        ConfigError::Missing {
            section: self.section,
            field: self.field,
            id: id.to_owned(),
        }
    }
}
