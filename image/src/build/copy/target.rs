//! Where files are copied to.

use super::Error;
use crate::build::files::resolve;
use crate::tree::Tree;

/// Where files go.
pub(super) struct Target {
    pub(super) names: Vec<Vec<u8>>,
    pub(super) is_directory: bool,
}

impl Target {
    pub(super) fn find(below: &Tree<'_>, destination: &str) -> Result<Self, Error> {
        let place = resolve(below, destination.as_bytes(), true)?;
        let there = place.node.map(|node| below.node(node).children().is_some());
        if there == Some(false) && destination.ends_with('/') {
            return Err(Error::NotADirectory(destination.to_owned()));
        }
        Ok(Self {
            is_directory: destination.ends_with('/') || there == Some(true),
            names: place.names,
        })
    }

    pub(super) fn with_name(&self, name: &[u8]) -> Vec<Vec<u8>> {
        let mut names = self.names.clone();
        if self.is_directory {
            names.push(name.to_vec());
        }
        names
    }
}
