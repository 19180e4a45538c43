//! Why a push failed.

use std::io;

use crate::{layer, registry, store};

/// A push failed; the registry has no new manifest, but perhaps blobs that the next attempt finds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry, or the way to it.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The store lacks the image, or cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A digest is the registry's to give.
    #[error("{0} cannot be pushed because it has a digest; push a tag")]
    Digest(String),
    /// The image is for another kind of machine.
    #[error("the image is for {found}, not for {wanted}")]
    Platform {
        /// What was asked for.
        wanted: String,
        /// What it is for.
        found: String,
    },
    /// A layer cannot be made again.
    #[error("layer {} cannot be pushed", .layer.short())]
    Layer {
        /// Its diffID.
        layer: crate::Digest,
        /// Why.
        source: layer::Error,
    },
    /// A thread of ours ended early.
    #[error("the push ended unexpectedly")]
    Thread(#[source] io::Error),
}
