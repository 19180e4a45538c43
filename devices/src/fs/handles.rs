//! What the guest has open.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::host::LockKind;

/// An open file or directory.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) node: u64,
    /// None if it was restored and could not be opened again.
    pub(super) file: Option<Arc<OwnedFd>>,
    pub(super) directory: bool,
    /// The flags that it is opened with again: how it may be accessed.
    pub(super) flags: u32,
    /// Where the next entries of a directory are read, if that is known.
    pub(super) position: Option<u64>,
    /// The lock of the whole file that it holds by flock(2).
    pub(super) flock: Option<LockKind>,
    /// Held by who changes what the description behind it has but once: its position, its lock.
    pub(super) turn: Arc<Mutex<()>>,
}

impl Handle {
    pub(super) fn new(node: u64, file: OwnedFd, directory: bool, flags: u32) -> Self {
        Self {
            node,
            file: Some(Arc::new(file)),
            directory,
            flags,
            position: None,
            flock: None,
            turn: Arc::default(),
        }
    }
}

/// All handles.
#[derive(Debug)]
pub(super) struct Handles {
    table: HashMap<u64, Handle>,
    next: u64,
    max: usize,
}

impl Handles {
    pub(super) fn new(max: usize) -> Self {
        Self {
            table: HashMap::new(),
            next: 1,
            max,
        }
    }

    /// All that there are, to be closed.
    pub(super) fn clear(&mut self) -> Vec<Handle> {
        self.table.drain().map(|(_, handle)| handle).collect()
    }

    /// Whether there is room for one more beside `others` that come out of the same purse.
    pub(super) fn check_room(&self, others: usize) -> Result<(), Errno> {
        if self.table.len() + others >= self.max {
            return Err(Errno::NFILE);
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, handle: Handle) -> u64 {
        let id = self.next;
        self.next += 1;
        self.table.insert(id, handle);
        id
    }

    /// A handle, which must be of that node.
    pub(super) fn get(&mut self, id: u64, node: u64) -> Result<&mut Handle, Errno> {
        let handle = self.table.get_mut(&id).filter(|handle| handle.node == node);
        handle.ok_or(Errno::BADF)
    }

    /// The open file behind a handle of a node.
    pub(super) fn file(&self, id: u64, node: u64) -> Result<&Arc<OwnedFd>, Errno> {
        self.open(id, node, false)
    }

    /// The open directory behind a handle of a node.
    pub(super) fn directory(&self, id: u64, node: u64) -> Result<&Arc<OwnedFd>, Errno> {
        self.open(id, node, true)
    }

    fn open(&self, id: u64, node: u64, directory: bool) -> Result<&Arc<OwnedFd>, Errno> {
        let handle = self.table.get(&id);
        let handle = handle.filter(|handle| handle.node == node && handle.directory == directory);
        handle.ok_or(Errno::BADF)?.file.as_ref().ok_or(Errno::STALE)
    }

    pub(super) fn remove(&mut self, id: u64, node: u64) -> Result<Handle, Errno> {
        self.get(id, node)?;
        self.table.remove(&id).ok_or(Errno::BADF)
    }

    /// The next ID, and all handles in the order of their IDs.
    pub(super) fn all(&self) -> (u64, Vec<(u64, &Handle)>) {
        let mut handles: Vec<_> = self.table.iter().map(|(id, h)| (*id, h)).collect();
        handles.sort_by_key(|(id, _)| *id);
        (self.next, handles)
    }

    /// Takes up a saved handle; false if that can't be.
    pub(super) fn restore(&mut self, id: u64, handle: Handle) -> bool {
        let fits = id < self.next && self.table.len() < self.max;
        fits && self.table.insert(id, handle).is_none()
    }

    pub(super) fn set_next(&mut self, next: u64) {
        self.next = next;
    }
}
