//! Directories that appear and disappear whole, by a rename: until then, and from then on, they have a name that nobody looks for.
//! What a dead process left under such a name goes with the next that is made.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

const PREFIX: &str = ".hidden-";

/// A directory that is not finished. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Hidden {
    directory: TempDir,
    /// Held for as long, so that others see whether somebody is at it.
    _lock: File,
}

impl Hidden {
    /// A new one in `parent`, which is made where it is missing.
    pub(crate) fn make(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        sweep(parent);
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = File::open(directory.path())?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where a file of it is.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// It has another name now, so that there is nothing to remove.
    pub(crate) fn was_renamed(self) {
        let _ = self.directory.keep();
    }

    /// Removes it, with all that is in it.
    pub(crate) fn remove(self) -> io::Result<()> {
        self.directory.close()
    }
}

/// Removes what is called `name` in `parent`, at once for everybody else. Whether there was any.
pub(crate) fn remove(parent: &Path, name: &str) -> io::Result<bool> {
    let hidden = hide(parent, name)?;
    let there = hidden.is_some();
    hidden.map_or(Ok(()), Hidden::remove)?;
    Ok(there)
}

/// Hides what is called `name` in `parent`, if there is any. What is in it is still there, and to be removed, which may take long.
pub(crate) fn hide(parent: &Path, name: &str) -> io::Result<Option<Hidden>> {
    let path = parent.join(name);
    if !path.try_exists()? {
        return Ok(None);
    }
    let hidden = Hidden::make(parent)?;
    match fs::rename(path, hidden.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(Some(hidden)),
    }
}

/// Removes what dead processes left half-made or half-removed.
fn sweep(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let is_hidden = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !is_hidden || !is_old(&entry.path()) {
            continue;
        }
        let free = File::open(entry.path())
            .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok());
        if free {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// One that is new may be about to be locked.
fn is_old(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|file| file.modified());
    let age = modified.ok().and_then(|made| made.elapsed().ok());
    age.is_some_and(|age| age.as_secs() > 60)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn what_a_dead_process_left_goes_and_what_a_live_one_makes_stays() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join(".hidden-left");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("memory"), "half").unwrap();
        let held = Hidden::make(parent.path()).unwrap();
        assert!(left.exists(), "it may be about to be locked");
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        for path in [&left, held.path()] {
            File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        let next = Hidden::make(parent.path()).unwrap();
        assert!(!left.exists() && held.path().exists());
        drop((held, next));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        assert!(!remove(parent.path(), "none").unwrap());
    }

    #[test]
    fn the_name_of_what_is_being_removed_is_free() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("large"), "").unwrap();
        let hidden = hide(parent.path(), "data").unwrap().unwrap();
        assert!(hidden.join("data/large").exists());
        fs::create_dir(&path).unwrap();
        hidden.remove().unwrap();
        assert!(path.exists());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
