//! Why a pull failed.

use crate::import;
use crate::registry;
use crate::store;

/// A pull failed; the store is as it was, but for layers that are complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry, or the way to it.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// What it sent is no image that can be stored.
    #[error(transparent)]
    Import(#[from] import::Error),
    /// Lists of manifests within lists.
    #[error("the manifest list leads to further lists instead of an image")]
    Nested,
    /// The disk is too small, or cannot be written.
    #[error("the layer {digest} cannot be written to {path}")]
    Write {
        /// The compressed layer's digest.
        digest: crate::Digest,
        /// Where it was to be kept meanwhile.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Import(error.into())
    }
}
