//! Snapshots of containers: a running container with its memory, processes and disk, in a directory with a name, from which others
//! go on.
//!
//! Each is a directory that appears whole, by a rename, and whose manifest knows how its files were when they were finished.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::container::{self, ContainerConfig, Record};
use crate::disk::Layer;
use crate::errand::{DISK, MEMORY, STATE};
use crate::hidden::{self, Hidden};
use crate::prepare::{Saved, SavedDisk};
use crate::spec::Shape;
use crate::template::Seal;

const MANIFEST: &str = "snapshot.json";
/// The version of what a manifest says.
const VERSION: u32 = 1;
/// A manifest has as many bytes as a container's configuration, and some.
const LONGEST_MANIFEST: u64 = 8 << 20;

/// All snapshots of a root directory.
#[derive(Clone, Debug)]
pub struct Snapshots {
    directory: PathBuf,
}

/// Which snapshot a container goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SnapshotRef {
    /// One that has a name.
    Named(String),
    /// One for the children of a fork alone, by the name of its directory. It goes when the fork is over.
    Fork(String),
}

/// Why something cannot be done with a snapshot.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// There is none.
    #[error("No such snapshot: {0}; hull snapshot ls shows all")]
    NotFound(String),
    /// There is one already.
    #[error(
        "a snapshot {0:?} exists already: remove it by hull snapshot rm, or choose another name"
    )]
    Taken(String),
    /// A container that has not been started yet needs it.
    #[error(
        "the snapshot {name} is needed by container {by}, which was not started yet: start or remove it first"
    )]
    InUse {
        /// Which one.
        name: String,
        /// The container's name.
        by: String,
    },
    /// A child whose fork ended before it was started.
    #[error(
        "the fork that this container was to be a child of ended before it was started: remove it"
    )]
    ForkEnded,
    /// A container is to have more than it has.
    #[error("a container that goes on from a snapshot cannot have that: {why}")]
    Small {
        /// What it has.
        why: String,
    },
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] container::InvalidName),
    /// It cannot be used.
    #[error("the snapshot {name} cannot be used: {source}; take it again")]
    Damaged {
        /// Which one.
        name: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The host's file system refused.
    #[error("the snapshot {name} cannot be {what}")]
    Io {
        /// Which one.
        name: String,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    version: u32,
    /// The container as it was.
    pub(crate) record: Record,
    pub(crate) shape: Shape,
    pub(crate) layer: Layer,
    made: Timestamp,
    state: Seal,
    memory: Seal,
    disk: Seal,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The container's.
    pub container: String,
    /// The image's.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// When it was taken.
    pub made: Timestamp,
    /// Bytes on disk.
    pub size: u64,
}

/// A snapshot that was just taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// How long the container's processes stood still.
    pub stood_still: Duration,
}

/// A snapshot that is being taken. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Draft(Hidden);

impl Snapshots {
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// A place for a new one.
    pub(crate) fn begin(&self, name: &str) -> Result<Draft, SnapshotError> {
        container::check_name(name)?;
        if self.directory.join(name).exists() {
            return Err(SnapshotError::Taken(name.to_owned()));
        }
        self.begin_fork().map_err(failed(name, "made"))
    }

    /// A place for one that will have no name.
    pub(crate) fn begin_fork(&self) -> io::Result<Draft> {
        Hidden::make(&self.directory).map(Draft)
    }

    /// Gives a new one its name.
    pub(crate) fn publish(
        &self,
        name: &str,
        draft: Draft,
        of: Subject,
    ) -> Result<(), SnapshotError> {
        let finish = || -> io::Result<()> {
            draft.complete(of)?;
            File::open(draft.path().join(DISK))?.sync_all()?;
            let target = self.directory.join(name);
            renameat_with(CWD, draft.path(), CWD, target, RenameFlags::NOREPLACE)?;
            Ok(())
        };
        match finish() {
            Ok(()) => {
                draft.0.was_renamed();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(SnapshotError::Taken(name.to_owned()))
            }
            Err(error) => Err(failed(name, "made")(error)),
        }
    }

    fn manifest(&self, name: &str) -> Result<Manifest, SnapshotError> {
        container::check_name(name)?;
        self.read(name)
    }

    /// Reads the manifest in a directory, whatever that is called.
    fn read(&self, name: &str) -> Result<Manifest, SnapshotError> {
        let path = self.directory.join(name).join(MANIFEST);
        let read = || {
            if fs::metadata(&path)?.len() > LONGEST_MANIFEST {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
            let manifest: Manifest = serde_json::from_slice(&fs::read(&path)?)?;
            if manifest.version != VERSION {
                let text = format!(
                    "its manifest has version {}, and this Hull reads {VERSION}",
                    manifest.version
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            Ok(manifest)
        };
        read().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => SnapshotError::NotFound(name.to_owned()),
            _ => damaged(name)(source),
        })
    }

    /// Opens one, to go on from it.
    pub(crate) fn open(&self, name: &str) -> Result<(Manifest, Saved), SnapshotError> {
        container::check_name(name)?;
        self.open_directory(name)
    }

    /// Opens the one that a container goes on from.
    pub(crate) fn follow(&self, which: &SnapshotRef) -> Result<(Manifest, Saved), SnapshotError> {
        match which {
            SnapshotRef::Named(name) => self.open(name),
            SnapshotRef::Fork(directory) => {
                let opened = self.open_directory(directory);
                opened.map_err(|error| match error {
                    SnapshotError::NotFound(_) => SnapshotError::ForkEnded,
                    error => error,
                })
            }
        }
    }

    fn open_directory(&self, name: &str) -> Result<(Manifest, Saved), SnapshotError> {
        let manifest = self.read(name)?;
        let directory = self.directory.join(name);
        let open = || {
            Ok(Saved {
                state: manifest.state.open(&directory.join(STATE))?,
                memory: manifest.memory.open(&directory.join(MEMORY))?,
                disk: SavedDisk::Copy(manifest.disk.open(&directory.join(DISK))?),
            })
        };
        let saved = open().map_err(damaged(name))?;
        Ok((manifest, saved))
    }

    /// All that there are and can be read, the youngest first.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(&self) -> io::Result<Vec<Listed>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            if let Ok(manifest) = self.manifest(&name) {
                all.push(self.listed(name, manifest));
            }
        }
        all.sort_by_key(|one| std::cmp::Reverse(one.made));
        Ok(all)
    }

    fn listed(&self, name: String, manifest: Manifest) -> Listed {
        let directory = self.directory.join(&name);
        let blocks = [STATE, MEMORY, DISK]
            .iter()
            .filter_map(|file| fs::metadata(directory.join(file)).ok())
            .map(|file| file.blocks());
        Listed {
            size: blocks.sum::<u64>() * 512,
            name,
            container: manifest.record.name,
            image: manifest.record.config.image,
            image_id: manifest.record.image_id,
            made: manifest.made,
        }
    }

    /// Removes one; containers that began as it go on.
    ///
    /// # Errors
    /// If there is none, or it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), SnapshotError> {
        container::check_name(name)?;
        match hidden::remove(&self.directory, name) {
            Ok(true) => Ok(()),
            Ok(false) => Err(SnapshotError::NotFound(name.to_owned())),
            Err(error) => Err(failed(name, "removed")(error)),
        }
    }
}

impl Manifest {
    /// Its machine for a container of this configuration, whose limits may have been changed.
    ///
    /// # Errors
    /// The machine is too small for them.
    pub(crate) fn limited(&self, config: &ContainerConfig) -> Result<Shape, SnapshotError> {
        let shape = self.shape.limited(config.memory, config.nano_cpus);
        shape.map_err(|why| SnapshotError::Small {
            why: why.to_string(),
        })
    }
}

/// What a snapshot is taken of.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) record: Record,
    pub(crate) shape: Shape,
    pub(crate) layer: Layer,
}

impl Draft {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Says what it is of, when its files are complete: it can be opened from here on.
    pub(crate) fn complete(&self, of: Subject) -> io::Result<()> {
        let seal = |name: &str| Ok::<_, io::Error>(Seal::of(&fs::metadata(self.0.join(name))?));
        let manifest = Manifest {
            version: VERSION,
            record: of.record,
            shape: of.shape,
            layer: of.layer,
            made: Timestamp::now(),
            state: seal(STATE)?,
            memory: seal(MEMORY)?,
            disk: seal(DISK)?,
        };
        fs::write(self.0.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)
    }

    /// How those find it who go on from it as long as it is there.
    pub(crate) fn reference(&self) -> SnapshotRef {
        let name = self.path().file_name().unwrap_or_default();
        SnapshotRef::Fork(name.to_string_lossy().into_owned())
    }
}

fn failed(name: &str, what: &'static str) -> impl FnOnce(io::Error) -> SnapshotError {
    let name = name.to_owned();
    move |source| SnapshotError::Io { name, what, source }
}

fn damaged(name: &str) -> impl FnOnce(io::Error) -> SnapshotError {
    let name = name.to_owned();
    move |source| SnapshotError::Damaged { name, source }
}
