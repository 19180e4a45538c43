//! Why files cannot be copied.

use crate::build::IgnoreError;
use crate::{layer, store, tree};

/// Files cannot be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer cannot be read or written.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// Layers do not fit together.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// There is no such source.
    #[error(
        "COPY failed: file not found in build context or excluded by .dockerignore: stat {0}: file does not exist"
    )]
    NotFound(String),
    /// No source fits a pattern.
    #[error("COPY failed: no source files were specified: nothing fits {0}")]
    NothingFits(String),
    /// A pattern is none.
    #[error("COPY failed: syntax error in pattern {0}")]
    Pattern(String),
    /// An archive that `ADD` cannot unpack.
    #[error("ADD failed: {path} cannot be unpacked")]
    Archive {
        /// Which file.
        path: String,
        /// Why not.
        source: layer::Error,
    },
    /// An address was not fetched.
    #[error("ADD failed: {0} was not fetched")]
    Remote(String),
    /// A file stands where a directory is needed.
    #[error("COPY failed: cannot copy to non-directory: {0}")]
    NotADirectory(String),
    /// Several files for one name.
    #[error(
        "When using COPY with more than one source file, the destination must be a directory and end with a /"
    )]
    Several,
    /// Symbolic links lead in circles.
    #[error("symbolic links lead in circles at {0:?}")]
    Loop(String),
    /// There is no such user or group.
    #[error("unable to find user or group {0:?} in the image's /etc/passwd and /etc/group")]
    Owner(String),
    /// Permissions that are none.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Mode(String),
    /// A file is longer than it may be.
    #[error("{path:?} has more than {limit} bytes")]
    TooLong {
        /// The file.
        path: String,
        /// The most that it may have.
        limit: u64,
    },
    /// There is no place for what is copied.
    #[error(transparent)]
    Store(store::Error),
    /// A pattern of `--exclude` is none.
    #[error(transparent)]
    Exclude(#[from] IgnoreError),
}
