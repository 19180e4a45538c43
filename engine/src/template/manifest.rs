//! What a template says of itself: `template.json`, the last file of it that is written.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How far a template is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A machine whose agent waits.
    Machine,
    /// The same with an image's file systems mounted.
    Image,
}

impl Kind {
    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Image => "image",
        }
    }
}

/// A template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) kind: Kind,
    /// vCPUs.
    pub(super) cpus: u32,
    /// Memory in MiB.
    pub(super) memory_mib: u64,
    /// The image's id.
    pub(super) image: Option<String>,
    /// What its user called it.
    pub(super) reference: Option<String>,
    pub(super) made: Timestamp,
    pub(super) state: Seal,
    pub(super) memory: Seal,
    /// The writable disk, of an image's.
    pub(super) disk: Option<Seal>,
}

/// A file as it was when it was finished. Whatever is written to it changes the times, which nobody can set back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seal {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seal {
    /// Opens the file, which must be as it was.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        let file = File::open(path)?;
        if Self::of(&file.metadata()?) != *self {
            let changed = format!("{} was changed since it was made", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, changed));
        }
        Ok(file)
    }

    pub(crate) fn of(file: &Metadata) -> Self {
        Self {
            inode: file.ino(),
            size: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}
