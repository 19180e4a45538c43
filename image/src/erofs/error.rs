//! Why an image cannot be written.

use std::io;
use std::path::{Path, PathBuf};

use crate::{layer, tree};

/// What went wrong with an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer's index cannot be read.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// The layers do not fit together.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// EROFS addresses 16 TiB.
    #[error(
        "the image is too large: its disk would have {0} blocks of 4 KiB, more than EROFS can address"
    )]
    TooLarge(u64),
    /// A file of the store cannot be written.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}
