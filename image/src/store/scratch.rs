//! Temporary directories of writers, and clearing away those whose writer died.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::lock::{FileLock, Mode};

/// A directory on the store's file system that goes with this value, or, if the process dies first,
/// when a store is next opened.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    lock: Option<FileLock>,
}

impl Scratch {
    /// Makes one below `tmp`.
    pub(crate) fn new(tmp: &Path) -> Result<Self, Error> {
        let failed = |e: io::Error| Error::io("make a directory in", tmp, e);
        loop {
            // The name comes from the lock file, whose creation is exclusive.
            let file = tempfile::Builder::new()
                .prefix("w-")
                .suffix(".lock")
                .tempfile_in(tmp)
                .map_err(failed)?;
            let (_, lock_path) = file.keep().map_err(|e| failed(e.error))?;
            let lock = FileLock::lock(&lock_path, Mode::Exclusive).map_err(failed)?;
            let path = lock_path.with_extension("");
            match fs::create_dir(&path) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        lock: Some(lock),
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    lock.remove().map_err(failed)?;
                }
                Err(e) => return Err(failed(e)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed when a store is next opened.
        let _ = fs::remove_dir_all(&self.path);
        if let Some(lock) = self.lock.take() {
            let _ = lock.remove();
        }
    }
}

/// Removes what dead writers left below `tmp`.
pub(crate) fn clear(tmp: &Path) -> Result<(), Error> {
    let failed = |e: io::Error| Error::io("clear", tmp, e);
    for entry in fs::read_dir(tmp).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let lock_path = match path.extension() {
            Some(extension) if extension == "lock" => path.clone(),
            _ => path.with_extension("lock"),
        };
        let Some(lock) = FileLock::try_lock(&lock_path, Mode::Exclusive).map_err(failed)? else {
            continue;
        };
        let dir = lock_path.with_extension("");
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(dir = %dir.display(), error = %e, "a temporary directory cannot be removed");
            }
            _ => match lock.remove() {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
                _ => (),
            },
        }
    }
    Ok(())
}
