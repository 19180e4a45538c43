//! All plain microVMs below one root, shared by every `hull` process that uses it.
//!
//! `vms/<name>/` has `record.json`, which never changes, `state.json`, `lock` and logs. Its owner holds the lock, so a directory that
//! says "running" and is not locked is one whose owner died. Making, taking, recovering and removing go under `vms.lock`.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::saved::Past;
use super::{VmError, VmName, VmNet, VmSpec, wire};
use crate::container::{Directory, Held, HostProcess, read_json, remove_tree, write_json};
use crate::{Error, Paths};

/// Exit status of a machine that was killed, as of any process: 128 and SIGKILL.
pub(crate) const KILLED: u8 = 137;

/// The part of a microVM that never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmRecord {
    /// Its name.
    pub name: VmName,
    /// What it is to be.
    pub spec: VmSpec,
    /// Whether it is removed at its end.
    pub auto_remove: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// Where a microVM is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VmStatus {
    /// Made, never started.
    Created,
    /// It runs, or is being started; it may be paused.
    Running,
    /// Its machine is in files, and goes on from there.
    Suspended,
    /// It ended.
    Exited,
}

/// The changing part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmState {
    /// Where it is in its life.
    pub status: VmStatus,
    /// How it ended last; see [`VmEnd`](super::VmEnd).
    pub exit_code: Option<u8>,
    /// The same in words.
    pub reason: String,
    /// Its `hull-vmm` while it runs.
    pub vmm: Option<HostProcess>,
    /// What its interfaces are on the host while it runs.
    #[serde(default)]
    pub networks: Vec<VmNet>,
    /// When it was started last.
    pub started: Option<Timestamp>,
    /// When it ended last.
    pub finished: Option<Timestamp>,
}

/// A microVM as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// What never changes.
    pub record: VmRecord,
    /// What does.
    pub state: VmState,
}

impl VmState {
    pub(crate) const CREATED: Self = Self {
        status: VmStatus::Created,
        exit_code: None,
        reason: String::new(),
        vmm: None,
        networks: Vec::new(),
        started: None,
        finished: None,
    };

    /// It does not run any more; what it goes on from at its next start, if it does, says what it is.
    pub(crate) fn ended(&mut self, code: u8, reason: impl Into<String>, past: Option<&Past>) {
        self.status = past.map_or(VmStatus::Exited, Past::status);
        self.exit_code = past.is_none().then_some(code);
        self.reason = reason.into();
        self.vmm = None;
        self.networks = Vec::new();
        self.finished = Some(Timestamp::now());
    }
}

/// The set of plain microVMs below one root.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    paths: Paths,
}

impl Shelf {
    pub(crate) fn new(paths: Paths) -> Self {
        Self { paths }
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    pub(crate) fn directory(&self, name: &VmName) -> Directory {
        Directory::new(self.paths.vms().join(name.as_str()))
    }

    /// Sockets of a machine that runs.
    pub(crate) fn runtime(&self, name: &VmName) -> PathBuf {
        self.paths.run().join("vm").join(name.as_str())
    }

    pub(crate) fn api_socket(&self, name: &VmName) -> PathBuf {
        self.runtime(name).join("api")
    }

    pub(crate) fn console_socket(&self, name: &VmName) -> PathBuf {
        self.runtime(name).join("console")
    }

    /// Makes a microVM with its lock held. What it is to be may depend on its directory.
    pub(crate) fn make(
        &self,
        wanted: Option<VmName>,
        spec: impl FnOnce(&Path) -> VmSpec,
        auto_remove: bool,
    ) -> Result<(Held, VmRecord), VmError> {
        let _lock = self.lock()?;
        let name = match wanted {
            Some(name) if self.directory(&name).path().exists() => {
                return Err(VmError::NameTaken(name));
            }
            Some(name) => name,
            None => self.free_name()?,
        };
        let record = VmRecord {
            spec: spec(self.directory(&name).path()),
            name,
            auto_remove,
            created: Timestamp::now(),
        };
        let path = self.directory(&record.name).path().to_owned();
        let made = Directory::make(path.clone()).and_then(|held| {
            write_json(&path.join("state.json"), &VmState::CREATED)?;
            write_json(&path.join("record.json"), &record)?;
            Ok(held)
        });
        match made {
            Ok(held) => Ok((held, record)),
            Err(error) => {
                let _ = fs::remove_dir_all(&path);
                Err(Error::io("make", path)(error).into())
            }
        }
    }

    /// A turn at pausing, resuming and saving a microVM, for as long as the file is open.
    pub(crate) fn turn(&self, name: &VmName) -> Result<File, VmError> {
        let path = self.directory(name).path().join("turn");
        let file = File::create(&path).map_err(Error::io("make", &path))?;
        match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(Errno::WOULDBLOCK) => Err(VmError::Busy(name.clone())),
            Err(errno) => Err(Error::io("lock", path)(errno.into()).into()),
        }
    }

    /// The lock of a microVM, if nobody holds it.
    pub(crate) fn take(&self, name: &VmName) -> Result<Option<Held>, VmError> {
        let _lock = self.lock()?;
        let directory = self.directory(name);
        if !directory.path().join("record.json").exists() {
            return Err(VmError::NotFound(name.to_string()));
        }
        let held = directory.try_hold();
        Ok(held.map_err(Error::io("lock", directory.path()))?)
    }

    /// One of them.
    pub(crate) fn get(&self, name: &VmName) -> Result<Listed, VmError> {
        let path = self.directory(name).path().to_owned();
        let read = || -> io::Result<Listed> {
            Ok(Listed {
                record: read_json(&path.join("record.json"))?,
                state: read_json(&path.join("state.json"))?,
            })
        };
        read().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => VmError::NotFound(name.to_string()),
            _ => Error::io("read", path.clone())(error).into(),
        })
    }

    /// All that are whole, by their names.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, VmError> {
        let mut all: Vec<Listed> = Vec::new();
        for name in self.names()? {
            all.extend(self.get(&name).ok());
        }
        all.sort_by(|one, other| one.record.name.cmp(&other.record.name));
        Ok(all)
    }

    pub(crate) fn write_state(&self, name: &VmName, state: &VmState) -> Result<(), Error> {
        let file = self.directory(name).path().join("state.json");
        write_json(&file, state).map_err(Error::io("write", file))
    }

    /// Removes a microVM for good. Its disks are its owner's and stay.
    pub(crate) fn remove(&self, held: Held, name: &VmName) -> Result<(), VmError> {
        let _lock = self.lock()?;
        Ok(self.discard(held, name)?)
    }

    /// Removes the sockets of a machine that is gone.
    pub(crate) fn remove_runtime(&self, name: &VmName) -> Result<(), Error> {
        let path = self.runtime(name);
        remove_tree(&path).map_err(Error::io("remove", path))
    }

    /// Makes the directories where they are missing, and brings what dead owners left into order.
    pub(crate) fn recover(&self) -> Result<(), VmError> {
        let vms = self.paths.vms();
        let private = DirBuilder::new().recursive(true).mode(0o700).create(&vms);
        private.map_err(Error::io("make", &vms))?;
        if let Err(error) = wire::recover(&self.paths) {
            // Whoever needs a network is told again.
            tracing::warn!(%error, "what dead owners left of networks is still there");
        }
        let _lock = self.lock()?;
        for name in self.names()? {
            let directory = self.directory(&name);
            let held = directory.try_hold();
            let Some(held) = held.map_err(Error::io("lock", directory.path()))? else {
                continue;
            };
            let past = Past::read(&directory).ok().flatten();
            let is_suspended = past.as_ref().is_some_and(Past::is_own);
            match self.get(&name) {
                Ok(Listed { record, .. }) if record.auto_remove && !is_suspended => {
                    self.discard(held, &name)?;
                }
                Ok(Listed { mut state, .. }) if state.status == VmStatus::Running => {
                    state.ended(
                        KILLED,
                        "the process that ran this microVM was killed",
                        past.as_ref(),
                    );
                    self.write_state(&name, &state)?;
                    self.remove_runtime(&name)?;
                }
                Ok(_) => {}
                // It was never finished, or its removal was not.
                Err(_) => self.discard(held, &name)?,
            }
        }
        Ok(())
    }

    fn discard(&self, held: Held, name: &VmName) -> Result<(), Error> {
        self.remove_runtime(name)?;
        let path = held.directory().path().to_owned();
        held.remove().map_err(Error::io("remove", path))
    }

    fn lock(&self) -> Result<File, Error> {
        let path = self.paths.root().join("vms.lock");
        let file = File::create(&path).and_then(|file| {
            flock(file.as_fd(), FlockOperation::LockExclusive)?;
            Ok(file)
        });
        file.map_err(Error::io("lock", path))
    }

    fn names(&self) -> Result<Vec<VmName>, Error> {
        let path = self.paths.vms();
        let entries = fs::read_dir(&path).map_err(Error::io("read", path))?;
        let name = |entry: io::Result<fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            VmName::try_from(name).ok()
        };
        Ok(entries.filter_map(name).collect())
    }

    fn free_name(&self) -> Result<VmName, Error> {
        for attempt in 0..1000 {
            let name = VmName::random(attempt).map_err(Error::io("read", "/dev/urandom"))?;
            if !self.directory(&name).path().exists() {
                return Ok(name);
            }
        }
        let none = io::Error::other("no free name was found");
        Err(Error::io("use", self.paths.vms())(none))
    }
}
