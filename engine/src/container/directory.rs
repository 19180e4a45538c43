//! One container's directory: `record.json` (changes only when a user says so), `state.json`, `lock`, the writable disk
//! and the VMM's log.
//!
//! Whoever holds the lock owns the container. It is a `flock`, so the kernel releases it when the
//! owner dies, however it dies; a directory that says "running" and is not locked is a dead one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ContainerConfig, ContainerId, State};
use crate::snapshot::SnapshotRef;

/// The part of a container that changes only when a user says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    /// The image's id: the digest of its configuration.
    pub(crate) image_id: String,
    /// What runs in it, for listings: entrypoint and command as merged with the image.
    pub(crate) command: Vec<String>,
    /// The signal that asks it to stop.
    pub(crate) stop_signal: u8,
    pub(crate) config: ContainerConfig,
    /// It is the daemon's: nobody else recovers or removes it.
    #[serde(default)]
    pub(crate) supervised: bool,
    /// What the daemon's client said when it asked for the container, for it to be told again.
    #[serde(default)]
    pub(crate) client: serde_json::Value,
    /// What it goes on from when it is started for the first time. Until that start has come up it has no disk.
    #[serde(default)]
    pub(crate) from: Option<SnapshotRef>,
}

impl Record {
    /// Whether it goes at its end, by its owner's hand.
    pub(crate) fn is_removed_by_owner(&self) -> bool {
        self.config.auto_remove && !self.supervised
    }
}

/// The paths of one container; holding this means nothing.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    path: PathBuf,
}

/// A container's directory whose lock this process holds.
#[derive(Debug)]
pub(crate) struct Held {
    directory: Directory,
    /// Open as long as this lives, and locked as long as it is open.
    _lock: File,
}

impl Directory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The writable disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.path.join("disk.ext4")
    }

    /// A disk that takes the place of the writable one as soon as its machine has come up.
    pub(crate) fn next_disk(&self) -> PathBuf {
        self.path.join("disk.next")
    }

    /// Puts it there.
    pub(crate) fn take_next_disk(&self) -> io::Result<()> {
        fs::rename(self.next_disk(), self.disk())
    }

    /// Everything the VMM says.
    pub(crate) fn vmm_log(&self) -> PathBuf {
        self.path.join("vmm.log")
    }

    /// The microVM's configuration.
    pub(crate) fn vmm_config(&self) -> PathBuf {
        self.path.join("vm.json")
    }

    /// The machine of a container that is suspended.
    pub(crate) fn suspended(&self) -> PathBuf {
        self.path.join("suspended")
    }

    /// Machines as they were at some moments.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// What the VMM counted, written at its end.
    pub(crate) fn metrics(&self) -> PathBuf {
        self.path.join("metrics.json")
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Makes the directory with its lock held. The caller holds the shelf's lock.
    pub(crate) fn make(path: PathBuf) -> io::Result<Held> {
        fs::create_dir(&path)?;
        let directory = Self { path };
        let lock = File::create(directory.lock_file())?;
        flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive)?;
        Ok(Held {
            directory,
            _lock: lock,
        })
    }

    /// Takes the lock if nobody holds it. A directory without a lock file was never finished;
    /// making one lets it be removed like any other. The caller holds the shelf's lock.
    pub(crate) fn try_hold(&self) -> io::Result<Option<Held>> {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.lock_file())?;
        match flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Held {
                directory: self.clone(),
                _lock: lock,
            })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits (blocking) until whoever holds the lock lets go.
    pub(crate) fn wait_released(&self) -> io::Result<()> {
        match File::open(self.lock_file()) {
            Ok(lock) => Ok(flock(lock.as_fd(), FlockOperation::LockShared)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn record(&self) -> io::Result<Record> {
        read_json(&self.path.join("record.json"))
    }

    pub(crate) fn state(&self) -> io::Result<State> {
        read_json(&self.path.join("state.json"))
    }

    /// Writes down what a user changed. The caller holds the shelf's lock.
    pub(crate) fn write_record(&self, record: &Record) -> io::Result<()> {
        write_json(&self.path.join("record.json"), record)
    }

    /// The output of its programs.
    pub(crate) fn log(&self, id: &ContainerId) -> PathBuf {
        self.path.join(format!("{id}-json.log"))
    }
}

impl Held {
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) fn write_record(&self, record: &Record) -> io::Result<()> {
        self.directory.write_record(record)
    }

    pub(crate) fn write_state(&self, state: &State) -> io::Result<()> {
        write_json(&self.directory.path.join("state.json"), state)
    }

    /// Removes the directory and then lets go of the lock.
    pub(crate) fn remove(self) -> io::Result<()> {
        // The record goes first: what is left of an interrupted removal counts as half-made.
        match fs::remove_file(self.directory.path.join("record.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::remove_dir_all(&self.directory.path)
    }
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let bytes = fs::read(path)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {error}", path.display()),
        )
    })
}

/// Replaces the file in one step, so that a reader sees the old text or the new. Where there is no room for both, the
/// new text takes the place of the old one.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let temporary = path.with_extension("json.new");
    let text = serde_json::to_vec_pretty(value)?;
    let written = fs::write(&temporary, &text).and_then(|()| fs::rename(&temporary, path));
    match written {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            let _ = fs::remove_file(&temporary);
            // Not cut off first: the old text's room is what there is.
            let mut file = File::options().write(true).open(path).map_err(|_| error)?;
            file.write_all(&text)?;
            file.set_len(text.len().try_into().unwrap_or(u64::MAX))
        }
        written => written,
    }
}
