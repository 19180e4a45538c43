//! Snapshots of plain microVMs: a machine with its memory and copies of the disks that it writes, in a directory with a name, from which
//! others go on.
//!
//! Each is a directory that appears whole, by a rename, and whose manifest knows how its files were when they were finished. What its
//! machine only reads (disks, shares) is not in it, but known by its path.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::known::Known;
use super::owned::io_error;
use super::saved::Past;
use super::{VmError, VmName, VmSpec};
use crate::disk;
use crate::errand::{MEMORY, STATE};
use crate::hidden::{self, Hidden};
use crate::template::Seal;

const MANIFEST: &str = "snapshot.json";
/// The version of what a manifest says.
const VERSION: u32 = 1;
/// A manifest says less than that of a machine with as many disks and interfaces as there can be.
const LONGEST_MANIFEST: u64 = 1 << 20;

/// All snapshots of plain microVMs below a root directory.
#[derive(Clone, Debug)]
pub struct VmSnapshots {
    directory: PathBuf,
}

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    version: u32,
    /// The microVM that it is of.
    microvm: VmName,
    /// What that is, with the addresses that its guest has.
    pub(crate) spec: VmSpec,
    made: Timestamp,
    state: Seal,
    memory: Seal,
    /// In the order of the guest's names.
    pub(crate) disks: Vec<SavedDisk>,
}

/// A disk of a machine that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SavedDisk {
    /// It is in the snapshot.
    Copy(Seal),
    /// It is where its path says, and must not be changed.
    Path(Known),
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct VmSnapshot {
    /// Its name.
    pub name: String,
    /// The microVM that it was taken of.
    pub microvm: VmName,
    /// What that is.
    pub spec: VmSpec,
    /// When it was taken.
    pub made: Timestamp,
    /// Bytes on disk.
    pub size: u64,
}

/// A snapshot that was just taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmTaken {
    /// How long the guest stood still.
    pub stood_still: Duration,
}

/// A snapshot that is being taken. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Draft {
    name: VmName,
    hidden: Hidden,
}

/// Where the copy of a disk is, in a snapshot's directory and in that of a microVM that goes on from it.
pub(crate) fn disk_file(directory: &Path, index: usize) -> PathBuf {
    directory.join(format!("disk{index}.raw"))
}

impl VmSnapshots {
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// A place for a new one.
    pub(crate) fn begin(&self, name: &str) -> Result<Draft, VmError> {
        let name: VmName = name.parse()?;
        if self.directory.join(name.as_str()).exists() {
            return Err(VmError::SnapshotTaken(name));
        }
        let hidden = Hidden::make(&self.directory).map_err(io_error("make", &self.directory))?;
        Ok(Draft { name, hidden })
    }

    /// Gives a new one its name.
    pub(crate) fn publish(
        &self,
        draft: Draft,
        (microvm, spec): (VmName, VmSpec),
        disks: Vec<SavedDisk>,
    ) -> Result<(), VmError> {
        let Draft { name, hidden } = draft;
        let path = hidden.path().to_owned();
        let finish = || -> io::Result<()> {
            let seal = |name: &str| Ok::<_, io::Error>(Seal::of(&fs::metadata(path.join(name))?));
            let manifest = Manifest {
                version: VERSION,
                microvm,
                spec,
                made: Timestamp::now(),
                state: seal(STATE)?,
                memory: seal(MEMORY)?,
                disks,
            };
            fs::write(path.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
            File::open(path.join(MANIFEST))?.sync_all()?;
            let target = self.directory.join(name.as_str());
            renameat_with(CWD, &path, CWD, target, RenameFlags::NOREPLACE)?;
            Ok(())
        };
        match finish() {
            Ok(()) => {
                hidden.was_renamed();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(VmError::SnapshotTaken(name))
            }
            Err(error) => Err(io_error("make", self.directory.join(name.as_str()))(error)),
        }
    }

    /// What a snapshot says of itself.
    pub(crate) fn manifest(&self, name: &str) -> Result<Manifest, VmError> {
        let none = || VmError::NoSnapshot(name.to_owned());
        let name: VmName = name.parse().map_err(|_| none())?;
        let path = self.directory.join(name.as_str()).join(MANIFEST);
        let read = || {
            if fs::metadata(&path)?.len() > LONGEST_MANIFEST {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
            let manifest: Manifest = serde_json::from_slice(&fs::read(&path)?)?;
            let damaged = |text| Err(io::Error::new(io::ErrorKind::InvalidData, text));
            match manifest.version {
                VERSION if manifest.disks.len() == manifest.spec.disks.len() => Ok(manifest),
                VERSION => damaged("its manifest has disks that its machine has not".to_owned()),
                version => damaged(format!(
                    "its manifest has version {version}, and this Hull reads {VERSION}"
                )),
            }
        };
        read().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => none(),
            _ => VmError::SnapshotDamaged {
                name: name.to_string(),
                source,
            },
        })
    }

    /// Makes the disks of a microVM that goes on from a snapshot, whose directory this is; what that goes on from.
    pub(crate) fn unpack(
        &self,
        (name, manifest): (&str, &Manifest),
        spec: &VmSpec,
        into: &Path,
    ) -> Result<Past, VmError> {
        let directory = self.directory.join(name);
        let damaged = |source| VmError::SnapshotDamaged {
            name: name.to_owned(),
            source,
        };
        let mut disks = Vec::new();
        for (index, (saved, disk)) in manifest.disks.iter().zip(&spec.disks).enumerate() {
            let opened = match saved {
                SavedDisk::Copy(seal) => {
                    let copy = seal.open(&disk_file(&directory, index));
                    let (copy, to) = (copy.map_err(damaged)?, disk_file(into, index));
                    disk::copy_open(&copy, &to).map_err(io_error("copy a disk to", &to))?;
                    File::open(to)
                }
                SavedDisk::Path(known) => {
                    let file = File::open(&disk.path).map_err(io_error("open", &disk.path))?;
                    if !known.is(&file).map_err(io_error("read", &disk.path))? {
                        return Err(VmError::SnapshotDiskChanged {
                            disk: disk.path.clone(),
                            name: name.to_owned(),
                        });
                    }
                    Ok(file)
                }
            };
            let known = opened.and_then(|file| Known::of(&file));
            disks.push(known.map_err(io_error("read", &disk.path))?);
        }
        let past = Past {
            snapshot: Some(name.to_owned()),
            directory,
            state: manifest.state.clone(),
            memory: manifest.memory.clone(),
            disks,
            networks: spec.networks.clone(),
        };
        past.open()?;
        Ok(past)
    }

    /// All that there are and can be read, the youngest first.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(&self) -> Result<Vec<VmSnapshot>, VmError> {
        let read = || -> io::Result<Vec<String>> {
            let entries = match fs::read_dir(&self.directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries?,
            };
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            Ok(names.collect())
        };
        let names = read().map_err(io_error("read", &self.directory))?;
        let listed = |name: String| {
            let manifest = self.manifest(&name).ok()?;
            Some(self.listed(name, manifest))
        };
        let mut all: Vec<_> = names.into_iter().filter_map(listed).collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.made));
        Ok(all)
    }

    fn listed(&self, name: String, manifest: Manifest) -> VmSnapshot {
        let files = fs::read_dir(self.directory.join(&name));
        let files = files.into_iter().flatten().flatten();
        let blocks = files.filter_map(|file| Some(file.metadata().ok()?.blocks()));
        VmSnapshot {
            size: blocks.sum::<u64>() * 512,
            name,
            microvm: manifest.microvm,
            spec: manifest.spec,
            made: manifest.made,
        }
    }

    /// Removes one; microVMs that began as it go on, but those that were never started cannot any more.
    ///
    /// # Errors
    /// If there is none, or it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), VmError> {
        let none = || VmError::NoSnapshot(name.to_owned());
        let name: VmName = name.parse().map_err(|_| none())?;
        match hidden::remove(&self.directory, name.as_str()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(none()),
            Err(error) => Err(io_error("remove", self.directory.join(name.as_str()))(
                error,
            )),
        }
    }
}

impl Draft {
    pub(crate) fn path(&self) -> &Path {
        self.hidden.path()
    }
}
