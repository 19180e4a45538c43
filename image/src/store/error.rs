//! What can go wrong in a store.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::reference::ParseReferenceError;

/// An operation on the store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No image has this name or id.
    #[error("no such image: {0}")]
    NotFound(String),
    /// More than one image id begins so.
    #[error("{0:?} begins the ids of several images; give more digits")]
    Ambiguous(String),
    /// A name breaks the rules.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    /// Somebody needs the image.
    #[error("image {image} is in use by {by}; remove that first, or force it")]
    InUse {
        /// As the user named it.
        image: String,
        /// Who uses it.
        by: String,
    },
    /// An id was given, but several names lead to it.
    #[error("image {image} has several names ({names}); remove them one by one, or force it")]
    SeveralNames {
        /// As the user named it.
        image: String,
        /// Its names, joined by commas.
        names: String,
    },
    /// A file of the image is gone or spoilt.
    #[error("image {image} is damaged: {what}; remove it and pull it again")]
    Damaged {
        /// The image's id.
        image: Digest,
        /// Which part, and how.
        what: String,
    },
    /// A clean-up went by in the moment between making a layer and holding on to it.
    #[error("layer {0} was removed while it was being stored; try again")]
    Vanished(Digest),
    /// A tag needs a name and a tag, not a digest.
    #[error("{0} cannot be a tag because it has a digest")]
    TagWithDigest(String),
    /// The store was written by another version, or not by Hull.
    #[error("{path} is not an image database that this version of hull can read")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Option<serde_json::Error>,
    },
    /// A configuration is not what the specification says.
    #[error("the image's configuration cannot be used")]
    Config(#[source] crate::config::Error),
    /// The metadata image could not be made.
    #[error("the file system of image {image} cannot be made")]
    Erofs {
        /// The image's id.
        image: Digest,
        /// Why.
        source: crate::erofs::Error,
    },
    /// A layer cannot be read.
    #[error("layer {} cannot be read", .layer.short())]
    Layer {
        /// Its diffID.
        layer: Digest,
        /// Why.
        source: crate::layer::Error,
    },
    /// The operating system refused.
    #[error("cannot {verb} {path}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(verb: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io {
            verb,
            path: path.as_ref().to_owned(),
            source,
        }
    }
}
