//! Why layers cannot be merged.

use crate::layer;

/// What went wrong with an image's layers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An index cannot be read.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// A member of a layer contradicts what is there.
    #[error("layer {layer} of the image has a member {path:?} which cannot be unpacked: {what}")]
    Member {
        /// Counted from 1, the lowest.
        layer: usize,
        /// Its path, shortened.
        path: String,
        /// A clause.
        what: &'static str,
    },
    /// There is more in the image than Hull takes.
    #[error("the image is too large: more than {limit} {what}")]
    TooLarge {
        /// The most that is allowed.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
}
