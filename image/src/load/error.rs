//! Why a load failed.

use std::io;
use std::path::PathBuf;

use crate::import;
use crate::reference::ParseReferenceError;
use crate::store;

/// A load failed; the store is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input cannot be opened.
    #[error("cannot open {path}")]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The input cannot be read to its end.
    #[error("the input cannot be read")]
    Read(#[source] io::Error),
    /// A file of the layout cannot be read.
    #[error("{path} of the layout cannot be read")]
    ReadFile {
        /// Its path in the layout.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The input is no tar archive.
    #[error("the input is not a tar archive, or is damaged")]
    Archive(#[source] io::Error),
    /// There is no room for the unpacked archive.
    #[error("the archive cannot be put aside in {path}")]
    Spool {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else.
    #[error(
        "the input is neither an OCI image layout nor an archive of docker save (it has no index.json and no manifest.json)"
    )]
    Unknown,
    /// No image is in there.
    #[error("there is no image in the input")]
    Empty,
    /// A path leads out of the archive.
    #[error("the archive has a path that leads out of it: {0:?}")]
    Escape(String),
    /// Links lead nowhere or in circles.
    #[error("a link in the archive leads in circles: {0:?}")]
    Loop(String),
    /// Something that the input names is not in it.
    #[error("the input lacks {0:?}, which it refers to")]
    Missing(String),
    /// A file is too long to be what it should be.
    #[error("{path:?} of the input has {size} bytes, more than {limit}")]
    TooLong {
        /// Its path in the input.
        path: String,
        /// Its length.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A JSON file makes no sense.
    #[error("{path} of the input cannot be understood")]
    Syntax {
        /// Its path in the input.
        path: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// More images than anybody saves at once.
    #[error("the input lists {0} images, more than this version reads")]
    TooMany(usize),
    /// A name in the input breaks the rules.
    #[error("the input gives an image a wrong name")]
    Name(#[from] ParseReferenceError),
    /// One name for several images.
    #[error("the input has {0} images, so they cannot all have the one name that was given")]
    NameForSeveral(usize),
    /// Lists of manifests within lists.
    #[error("an index of the input leads to further indexes instead of an image")]
    Nested,
    /// What it holds is no image that can be stored.
    #[error(transparent)]
    Import(#[from] import::Error),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Import(error.into())
    }
}
