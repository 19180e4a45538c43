//! Advisory locks on files, between processes and between tasks of one process.
//!
//! There is no daemon yet, so several `hull` processes work on one store at once. A lock belongs to
//! the open file description (`flock`), so it ends with the process that held it, however that ended.
//! A lock file may be unlinked by who holds it exclusively; taking a lock therefore checks that the
//! path still leads to the locked file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

/// How often a waiting task looks again. Waiting in the kernel would need a thread per waiter, which
/// could not be called off when its task is cancelled.
const POLL: Duration = Duration::from_millis(50);

/// Who may hold the same lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Together with others who share it.
    Shared,
    /// Alone.
    Exclusive,
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Waits, blocking the thread, until the lock is held. For locks that are held for moments only.
    pub(crate) fn lock(path: &Path, mode: Mode) -> io::Result<Self> {
        loop {
            let file = open(path)?;
            let operation = match mode {
                Mode::Shared => FlockOperation::LockShared,
                Mode::Exclusive => FlockOperation::LockExclusive,
            };
            rustix::io::retry_on_intr(|| flock(&file, operation))?;
            if is_current(&file, path)? {
                return Ok(Self::held(file, path));
            }
        }
    }

    /// Takes the lock if nobody is in the way.
    pub(crate) fn try_lock(path: &Path, mode: Mode) -> io::Result<Option<Self>> {
        loop {
            let file = open(path)?;
            if !try_flock(&file, mode)? {
                return Ok(None);
            }
            if is_current(&file, path)? {
                return Ok(Some(Self::held(file, path)));
            }
        }
    }

    /// Waits until the lock is held, without blocking the thread. `waiting` is called once if others are in the way.
    pub(crate) async fn acquire(
        path: &Path,
        mode: Mode,
        waiting: impl FnOnce(),
    ) -> io::Result<Self> {
        let mut waiting = Some(waiting);
        loop {
            if let Some(lock) = Self::try_lock(path, mode)? {
                return Ok(lock);
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Lets others share what was held alone. The kernel may give the lock to another in between, so
    /// what it protects has to be looked at again.
    pub(crate) async fn share(self) -> io::Result<Self> {
        while !try_flock(&self.file, Mode::Shared)? {
            tokio::time::sleep(POLL).await;
        }
        if is_current(&self.file, &self.path)? {
            return Ok(self);
        }
        Self::acquire(&self.path, Mode::Shared, || ()).await
    }

    /// Where the lock file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The locked file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Unlinks the lock file and lets go. Only right for a lock that is held exclusively.
    pub(crate) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    fn held(file: File, path: &Path) -> Self {
        Self {
            file,
            path: path.to_owned(),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn try_flock(file: &File, mode: Mode) -> io::Result<bool> {
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::io::retry_on_intr(|| flock(file, operation)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the path still names the locked file.
fn is_current(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok(named.dev() == held.dev() && named.ino() == held.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
