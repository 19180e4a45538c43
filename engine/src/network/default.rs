//! The network that is there without anybody making it.

use super::{Error, Network, NetworkSpec, Networks};

/// Its name, as with Docker.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Names that mean no network where one is named.
pub(crate) const RESERVED: [&str; 3] = ["none", "host", "user"];

impl Networks {
    /// The network of this name or identifier; [`DEFAULT_NETWORK`] is made if it is not there.
    pub fn get(&self, name: &str) -> Result<Network, Error> {
        match self.find(name) {
            Err(Error::NotFound(_)) if name == DEFAULT_NETWORK => {
                match self.create(&NetworkSpec::new(DEFAULT_NETWORK)) {
                    // Somebody else was faster.
                    Err(Error::NameTaken { .. }) => self.find(name),
                    made => made,
                }
            }
            found => found,
        }
    }
}
