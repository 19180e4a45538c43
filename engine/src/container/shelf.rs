//! All containers below one root, shared by every `hull` process that uses it.
//!
//! `containers/<id>/` holds a container, `names/<name>` is a symbolic link whose target is the id.
//! What must not happen twice at once (making, recovering, removing) runs under `containers.lock`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::{ContainerId, Directory, Held, HostProcess, Record, State, Status, name};
use crate::{Paths, suspended};

/// The set of containers below one root.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    paths: Paths,
}

/// A name that another container has, and which.
#[derive(Debug)]
pub(crate) struct NameTaken(pub(crate) ContainerId);

/// What became of a container that was to be removed if nobody owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It is removed.
    Removed,
    /// It was not there.
    Gone,
    /// Somebody owns it.
    Owned,
}

impl Shelf {
    /// Makes the directories where they are missing.
    pub(crate) fn open(paths: Paths) -> io::Result<Self> {
        fs::create_dir_all(paths.containers())?;
        fs::create_dir_all(paths.names())?;
        Ok(Self { paths })
    }

    /// The containers of a root directory, to be read only.
    pub(crate) fn at(paths: Paths) -> Self {
        Self { paths }
    }

    /// The directory with all containers.
    pub(crate) fn path(&self) -> PathBuf {
        self.paths.containers()
    }

    /// The directory of all runtime files.
    pub(crate) fn run(&self) -> &Path {
        self.paths.run()
    }

    /// The directory of a container, whether or not it exists.
    pub(crate) fn directory(&self, id: &ContainerId) -> Directory {
        Directory::new(self.paths.containers().join(id.as_str()))
    }

    /// Runtime files of a container; short, because socket paths are at most 107 bytes.
    pub(crate) fn runtime(&self, id: &ContainerId) -> PathBuf {
        self.paths.run().join(id.short())
    }

    /// Makes a container's directory, with its lock held, and gives it the name, or a random one.
    /// `record` gets the id and the name.
    pub(crate) fn make(
        &self,
        wanted: Option<&str>,
        record: impl FnOnce(ContainerId, String) -> Record,
    ) -> io::Result<Result<(Held, Record), NameTaken>> {
        let _lock = self.lock()?;
        let id = ContainerId::random()?;
        let name = match self.reserve(wanted, &id)? {
            Ok(name) => name,
            Err(taken) => return Ok(Err(taken)),
        };
        let path = self.directory(&id).path().to_owned();
        let made = Directory::make(path.clone()).and_then(|held| {
            let record = record(id, name.clone());
            let mut state = State::created(Timestamp::now());
            state.owner = HostProcess::this();
            held.write_state(&state)?;
            held.write_record(&record)?;
            Ok((held, record))
        });
        if made.is_err() {
            let _ = fs::remove_dir_all(&path);
            let _ = fs::remove_file(self.paths.names().join(name));
        }
        made.map(Ok)
    }

    /// Removes a container for good.
    pub(crate) fn remove(&self, held: Held, record: &Record) -> io::Result<()> {
        let _lock = self.lock()?;
        self.discard(held, &record.id, Some(&record.name))
    }

    /// Removes a container unless somebody owns it. Looking for it and taking its lock are one step for everybody
    /// else who removes or recovers: nobody can make a lock file in a directory that goes at the same moment.
    pub(crate) fn remove_unowned(&self, id: &ContainerId) -> io::Result<Removal> {
        let _lock = self.lock()?;
        let directory = self.directory(id);
        if !directory.path().try_exists()? {
            return Ok(Removal::Gone);
        }
        let Some(held) = directory.try_hold()? else {
            return Ok(Removal::Owned);
        };
        let name = directory.record().ok().map(|record| record.name);
        self.discard(held, id, name.as_deref())?;
        Ok(Removal::Removed)
    }

    /// Takes the lock of a container that nobody owns; nothing if somebody does, or there is none.
    pub(crate) fn hold(&self, id: &ContainerId) -> io::Result<Option<(Held, Record, State)>> {
        let _lock = self.lock()?;
        let directory = self.directory(id);
        if !directory.path().try_exists()? {
            return Ok(None);
        }
        let Some(held) = directory.try_hold()? else {
            return Ok(None);
        };
        let (record, state) = (directory.record()?, directory.state()?);
        Ok(Some((held, record, state)))
    }

    /// Removes the files of a machine that is gone.
    pub(crate) fn remove_runtime(&self, id: &ContainerId) -> io::Result<()> {
        remove_tree(&self.runtime(id))
    }

    /// Brings what dead owners left into order: removes half-made containers and those that were to
    /// be removed at their end, marks the others exited, or suspended where their machine is complete in files. What is the
    /// daemon's is put in order by the daemon.
    pub(crate) fn recover(&self) -> io::Result<()> {
        let _lock = self.lock()?;
        for id in self.ids()? {
            let directory = self.directory(&id);
            let Some(held) = directory.try_hold()? else {
                continue;
            };
            let (Ok(record), Ok(mut state)) = (directory.record(), directory.state()) else {
                tracing::info!(%id, "removing a container that was never finished");
                self.discard(held, &id, None)?;
                continue;
            };
            if record.supervised {
                continue;
            }
            if record.config.auto_remove && !suspended::is_sealed(&directory) {
                tracing::info!(%id, "removing a container whose owner is gone");
                self.discard(held, &id, Some(&record.name))?;
                continue;
            }
            self.abandon(&held, &id, &mut state)?;
        }
        Ok(())
    }

    /// Writes down that a container does not run any more, if nobody owns it; its state then. Nothing if somebody does, or if it is gone.
    pub(crate) fn recover_one(&self, id: &ContainerId) -> io::Result<Option<State>> {
        let Some((held, _, mut state)) = self.hold(id)? else {
            return Ok(None);
        };
        self.abandon(&held, id, &mut state)?;
        Ok(Some(state))
    }

    /// A container's owner may have died before its machine ran, while it did, while it was written to files or made of them,
    /// or while it powered off. What is complete in files lives on, and nothing else.
    fn abandon(&self, held: &Held, id: &ContainerId, state: &mut State) -> io::Result<()> {
        let directory = self.directory(id);
        let sealed = suspended::is_sealed(&directory);
        let was = state.status;
        match (was, sealed) {
            // Its owner died when all was written but that.
            (Status::Running | Status::Paused, true) => state.suspended(Timestamp::now()),
            // Or when a machine was made of it, which may have changed its disk.
            (Status::Running | Status::Paused | Status::Suspended, false) => {
                state.abandoned(Timestamp::now());
            }
            _ => {}
        }
        if state.status != was {
            held.write_state(state)?;
        }
        if !sealed {
            // Half-written, or of no more use.
            remove_tree(&directory.suspended())?;
        }
        // Its machine never came up.
        remove_file(&directory.next_disk())?;
        remove_tree(&self.runtime(id))
    }

    /// Gives a container another name; whose it is, if it is another's.
    pub(crate) fn rename(
        &self,
        id: &ContainerId,
        to: &str,
    ) -> io::Result<Result<Record, NameTaken>> {
        let _lock = self.lock()?;
        let mut record = self.directory(id).record()?;
        if let Some(taken) = self.claim(to, id)? {
            return Ok(Err(NameTaken(taken)));
        }
        let old = std::mem::replace(&mut record.name, to.to_owned());
        // The new name leads to it already: whatever happens from here on, it can be found.
        self.directory(id).write_record(&record)?;
        if old != to && self.target(&old)?.as_ref() == Some(id) {
            fs::remove_file(self.paths.names().join(old))?;
        }
        Ok(Ok(record))
    }

    /// Changes what a user may change of a container; its record then.
    pub(crate) fn change(
        &self,
        id: &ContainerId,
        change: impl FnOnce(&mut Record),
    ) -> io::Result<Record> {
        let _lock = self.lock()?;
        let directory = self.directory(id);
        let mut record = directory.record()?;
        change(&mut record);
        directory.write_record(&record)?;
        Ok(record)
    }

    /// All containers that are whole, in no order.
    pub(crate) fn records(&self) -> io::Result<Vec<(Record, State)>> {
        let read = |id: &ContainerId| {
            let directory = self.directory(id);
            Some((directory.record().ok()?, directory.state().ok()?))
        };
        Ok(self.ids()?.iter().filter_map(read).collect())
    }

    fn discard(&self, held: Held, id: &ContainerId, name: Option<&str>) -> io::Result<()> {
        remove_tree(&self.runtime(id))?;
        held.remove()?;
        if let Some(name) = name
            && self.target(name)?.as_ref() == Some(id)
        {
            fs::remove_file(self.paths.names().join(name))?;
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<File> {
        let file = File::create(self.paths.root().join("containers.lock"))?;
        flock(file.as_fd(), FlockOperation::LockExclusive)?;
        Ok(file)
    }

    fn ids(&self) -> io::Result<Vec<ContainerId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(self.paths.containers())? {
            let name = entry?.file_name();
            ids.extend(
                name.into_string()
                    .ok()
                    .and_then(|name| ContainerId::try_from(name).ok()),
            );
        }
        Ok(ids)
    }

    fn reserve(
        &self,
        wanted: Option<&str>,
        id: &ContainerId,
    ) -> io::Result<Result<String, NameTaken>> {
        if let Some(name) = wanted {
            return Ok(match self.claim(name, id)? {
                None => Ok(name.to_owned()),
                Some(taken) => Err(NameTaken(taken)),
            });
        }
        for attempt in 0.. {
            let mut bytes = [0; 4];
            File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            let name = name::random(bytes, attempt);
            if self.claim(&name, id)?.is_none() {
                return Ok(Ok(name));
            }
        }
        Err(io::Error::other("no free name was found"))
    }

    /// Gives the name to `id` unless a container has it, which is then returned.
    fn claim(&self, name: &str, id: &ContainerId) -> io::Result<Option<ContainerId>> {
        if let Some(taken) = self.named(name)? {
            return Ok(Some(taken));
        }
        let link = self.paths.names().join(name);
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(id.as_str(), link)?,
        }
        Ok(None)
    }

    /// The container with this name, if it is there.
    fn named(&self, name: &str) -> io::Result<Option<ContainerId>> {
        Ok(self
            .target(name)?
            .filter(|id| self.directory(id).path().exists()))
    }

    fn target(&self, name: &str) -> io::Result<Option<ContainerId>> {
        match fs::read_link(self.paths.names().join(name)) {
            Ok(target) => Ok(target
                .to_str()
                .and_then(|id| ContainerId::try_from(id.to_owned()).ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Removes a file that need not be there.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
