//! Why a layer cannot be imported or read.

use std::io;
use std::path::{Path, PathBuf};

/// What went wrong with a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream that the layer comes from failed.
    #[error("the layer cannot be read")]
    Read(#[source] io::Error),
    /// Where a layer's archive goes to failed.
    #[error("the layer's archive cannot be written")]
    Output(#[source] io::Error),
    /// The stream is no tar archive, or a damaged one.
    #[error("the layer is not a sound tar archive: at byte {offset}, {what}")]
    Malformed {
        /// Where in the uncompressed stream, in bytes.
        offset: u64,
        /// A clause.
        what: &'static str,
    },
    /// A member of the archive that cannot be part of a file system.
    #[error("the layer has a member {path:?} which cannot be unpacked: {what}")]
    Member {
        /// Its path as the archive has it, shortened.
        path: String,
        /// A clause.
        what: &'static str,
    },
    /// There is more in the layer than Hull takes.
    #[error("the layer is too large: more than {limit} {what}")]
    TooLarge {
        /// The most that is allowed.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// A file of the store is not what was written there.
    #[error("{} is damaged: {what}; remove the image and pull it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// A clause.
        what: String,
    },
    /// A file of the store cannot be used.
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
    pub(crate) fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn member(path: &[u8], what: &'static str) -> Self {
        Self::Member {
            path: printable(path),
            what,
        }
    }
}

/// A path as a message can show it.
pub(crate) fn printable(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).collect()
}
