//! The files that the guest knows: what a node ID stands for.
//!
//! A node is held by an `O_PATH` descriptor, so neither a rename nor a symbolic link put in its place leads anywhere else.
//! A child is found by one component below its directory's descriptor, never following a link. There are fewer
//! descriptors than files in a large tree, so the ones that were not used for the longest time are closed; such a
//! node is found again by the names that led to it, and is stale (ESTALE, upon which Linux looks the name up again) if
//! something else is there now. The same names are what is saved.

use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::host::{self, Stat};

/// The shared directory itself.
pub(super) const ROOT: u64 = 1;
/// How deep below a directory that is still open a node may be to be found again.
const MAX_DEPTH: usize = 1024;
/// File systems in one share whose inode numbers are told apart.
const MAX_DEVICES: usize = 256;

/// What makes two files the same: numbers of inodes come again, but not with the same time of birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    device: (u32, u32),
    mount: u64,
    ino: u64,
    born: (i64, u32),
}

impl Key {
    fn of(stat: &Stat) -> Self {
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            mount: stat.stx_mnt_id,
            ino: stat.stx_ino,
            born: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
        }
    }
}

/// Where a node was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) parent: u64,
    pub(super) name: CString,
}

/// What a file's contents were like when it was last opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    pub(super) changed: (i64, u32),
    pub(super) modified: (i64, u32),
}

#[derive(Debug)]
struct Node {
    /// How often the guest was told of it.
    lookups: u64,
    kind: FileType,
    key: Option<Key>,
    /// None if it has no name, or none that is known.
    place: Option<Place>,
    fd: Option<Arc<OwnedFd>>,
    /// Open handles. A file that is open may have lost its name, so its descriptor stays.
    opens: u32,
    /// Used since the last search for descriptors to close.
    recent: bool,
    stamp: Option<Stamp>,
}

/// A node as saved data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SavedNode {
    pub(super) id: u64,
    pub(super) lookups: u64,
    pub(super) kind: FileType,
    pub(super) place: Option<Place>,
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: HashMap<u64, Node>,
    by_key: HashMap<Key, u64>,
    /// The next ID; none comes twice.
    next: u64,
    max: usize,
    /// Nodes that had a descriptor when they were put here, in the order in which they are considered for closing.
    clock: VecDeque<u64>,
    open: usize,
    max_open: usize,
    /// File systems in the order in which they were met; the share's own is the first.
    devices: Vec<(u32, u32)>,
}

impl Nodes {
    /// The root alone.
    pub(super) fn new(root: OwnedFd, max: usize, max_open: usize) -> Result<Self, Errno> {
        let stat = host::stat(root.as_fd())?;
        if host::kind(&stat) != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let key = Key::of(&stat);
        let node = Node {
            lookups: 1,
            kind: FileType::Directory,
            key: Some(key),
            place: None,
            fd: Some(Arc::new(root)),
            opens: 0,
            recent: true,
            stamp: None,
        };
        Ok(Self {
            nodes: HashMap::from([(ROOT, node)]),
            by_key: HashMap::from([(key, ROOT)]),
            next: ROOT + 1,
            max,
            clock: VecDeque::new(),
            open: 0,
            max_open,
            devices: vec![key.device],
        })
    }

    /// Forgets all but the root. IDs go on, so that none that is still on its way means something else.
    pub(super) fn clear(&mut self) {
        self.nodes.retain(|id, _| *id == ROOT);
        self.by_key.retain(|_, id| *id == ROOT);
        self.clock.clear();
        self.open = 0;
        if let Some(root) = self.nodes.get_mut(&ROOT) {
            root.opens = 0;
        }
    }

    /// What a node is.
    pub(super) fn kind(&self, id: u64) -> Result<FileType, Errno> {
        self.nodes
            .get(&id)
            .map(|node| node.kind)
            .ok_or(Errno::STALE)
    }

    /// A node's descriptor; it is found again if it was closed.
    pub(super) fn fd(&mut self, id: u64) -> Result<Arc<OwnedFd>, Errno> {
        let node = self.nodes.get_mut(&id).ok_or(Errno::STALE)?;
        node.recent = true;
        if let Some(fd) = &node.fd {
            return Ok(Arc::clone(fd));
        }
        let fd = self.walk(id)?;
        let stat = host::stat(fd.as_fd())?;
        let node = self.nodes.get(&id).ok_or(Errno::STALE)?;
        if node.key != Some(Key::of(&stat)) {
            return Err(Errno::STALE);
        }
        Ok(self.keep(id, fd))
    }

    /// Finds `name` in a directory and counts that the guest knows it. The ID, and what it is like.
    pub(super) fn look_up(&mut self, parent: u64, name: &CStr) -> Result<(u64, Stat), Errno> {
        let directory = self.fd(parent)?;
        let fd = self.open(|| host::open_path(directory.as_fd(), name))?;
        let stat = host::stat(fd.as_fd())?;
        let id = self.adopt(fd, &stat, Some((parent, name)))?;
        Ok((id, stat))
    }

    /// Counts that the guest knows what `fd` is; where it was seen, if it has a name.
    pub(super) fn adopt(
        &mut self,
        fd: OwnedFd,
        stat: &Stat,
        seen: Option<(u64, &CStr)>,
    ) -> Result<u64, Errno> {
        let key = Key::of(stat);
        let place = seen.map(|(parent, name)| Place {
            parent,
            name: name.to_owned(),
        });
        if let Some(id) = self.by_key.get(&key).copied()
            && let Some(node) = self.nodes.get_mut(&id)
        {
            node.lookups = node.lookups.saturating_add(1);
            node.recent = true;
            // The root has no name, even where it is met within itself by a mount.
            if id != ROOT && place.is_some() {
                node.place = place;
            }
            if node.fd.is_none() {
                self.keep(id, fd);
            }
            return Ok(id);
        }
        if self.nodes.len() >= self.max {
            return Err(Errno::NFILE);
        }
        let id = self.next;
        self.next += 1;
        let node = Node {
            lookups: 1,
            kind: host::kind(stat),
            key: Some(key),
            place,
            fd: None,
            opens: 0,
            recent: true,
            stamp: None,
        };
        self.nodes.insert(id, node);
        self.by_key.insert(key, id);
        self.keep(id, fd);
        self.meet(key.device);
        Ok(id)
    }

    /// The guest forgot that it was told of a node, `count` times.
    pub(super) fn forget(&mut self, id: u64, count: u64) {
        if id == ROOT {
            return;
        }
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.lookups = node.lookups.saturating_sub(count);
        if node.lookups == 0
            && let Some(node) = self.nodes.remove(&id)
        {
            self.open -= usize::from(node.fd.is_some());
            if let Some(key) = node.key {
                self.by_key.remove(&key);
            }
        }
    }

    /// The guest moved something to here: a node that is it has a new place.
    pub(super) fn moved(&mut self, parent: u64, name: &CStr) {
        let found = self.fd(parent).and_then(|directory| {
            let fd = self.open(|| host::open_path(directory.as_fd(), name))?;
            host::stat(fd.as_fd())
        });
        if let Ok(stat) = found
            && let Some(id) = self.by_key.get(&Key::of(&stat)).copied()
            && let Some(node) = self.nodes.get_mut(&id)
            && id != ROOT
        {
            node.place = Some(Place {
                parent,
                name: name.to_owned(),
            });
        }
    }

    /// A handle of the node was opened.
    pub(super) fn opened(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.opens = node.opens.saturating_add(1);
        }
    }

    /// A handle of the node was closed.
    pub(super) fn closed(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.opens = node.opens.saturating_sub(1);
        }
    }

    /// Notes what the contents are like; what they were like before.
    pub(super) fn stamp(&mut self, id: u64, stamp: Option<Stamp>) -> Option<Stamp> {
        let node = self.nodes.get_mut(&id)?;
        std::mem::replace(&mut node.stamp, stamp)
    }

    /// The number of an inode as the guest gets it: unique in the share also where other file systems are mounted in it.
    pub(super) fn ino(&self, stat: &Stat) -> u64 {
        stat.stx_ino ^ self.device_bits((stat.stx_dev_major, stat.stx_dev_minor))
    }

    /// The same for numbers that a directory's listing has.
    pub(super) fn ino_in(&self, directory: u64, ino: u64) -> u64 {
        let key = self.nodes.get(&directory).and_then(|node| node.key);
        ino ^ key.map_or(0, |key| self.device_bits(key.device))
    }

    fn device_bits(&self, device: (u32, u32)) -> u64 {
        let index = self.devices.iter().position(|known| *known == device);
        u64::try_from(index.unwrap_or(0)).unwrap_or(0) << 48
    }

    fn meet(&mut self, device: (u32, u32)) {
        if self.devices.len() < MAX_DEVICES && !self.devices.contains(&device) {
            self.devices.push(device);
        }
    }

    /// Makes a system call that opens something; if there are no more descriptors, once more with one of ours closed.
    pub(super) fn open(
        &mut self,
        call: impl Fn() -> Result<OwnedFd, Errno>,
    ) -> Result<OwnedFd, Errno> {
        match call() {
            Err(Errno::MFILE | Errno::NFILE) if self.open > 0 => {
                self.close_some(self.open - 1);
                call()
            }
            result => result,
        }
    }

    /// Opens a node by the names that led to it.
    fn walk(&self, id: u64) -> Result<OwnedFd, Errno> {
        let mut names = Vec::new();
        let mut at = id;
        let directory = loop {
            let node = self.nodes.get(&at).ok_or(Errno::STALE)?;
            if let Some(fd) = &node.fd
                && at != id
            {
                break fd;
            }
            let place = node.place.as_ref().ok_or(Errno::STALE)?;
            // Renames by others can have made a circle.
            if names.len() == MAX_DEPTH {
                return Err(Errno::STALE);
            }
            names.push(place.name.as_c_str());
            at = place.parent;
        };
        let step = |from: OwnedFd, name: &&CStr| host::open_path(from.as_fd(), name);
        let last = names.pop().ok_or(Errno::STALE)?;
        let first = host::open_path(directory.as_fd(), last);
        let found = first.and_then(|first| names.iter().rev().try_fold(first, step));
        found.map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => Errno::STALE,
            error => error,
        })
    }

    fn keep(&mut self, id: u64, fd: OwnedFd) -> Arc<OwnedFd> {
        if self.open >= self.max_open {
            self.close_some(self.max_open.saturating_sub(1));
        }
        let fd = Arc::new(fd);
        if let Some(node) = self.nodes.get_mut(&id)
            && node.fd.is_none()
        {
            node.fd = Some(Arc::clone(&fd));
            self.open += 1;
            self.clock.push_back(id);
        }
        // Nodes that were forgotten leave their places in the clock behind.
        if self.clock.len() > 2 * self.open + 64 {
            let nodes = &self.nodes;
            self.clock
                .retain(|id| nodes.get(id).is_some_and(|node| node.fd.is_some()));
        }
        fd
    }

    /// Closes descriptors until `wanted` are left, or all that are left are needed. Each node gets a second chance.
    fn close_some(&mut self, wanted: usize) {
        for _ in 0..2 * self.clock.len() {
            if self.open <= wanted {
                return;
            }
            let Some(id) = self.clock.pop_front() else {
                return;
            };
            let Some(node) = self.nodes.get_mut(&id).filter(|node| node.fd.is_some()) else {
                continue;
            };
            if node.recent || node.opens > 0 || node.place.is_none() {
                node.recent = false;
                self.clock.push_back(id);
            } else {
                node.fd = None;
                self.open -= 1;
            }
        }
    }

    /// The next ID, and all nodes but the root in the order of their IDs. A node is saved with its place only if it is
    /// really there.
    pub(super) fn save(&self) -> (u64, Vec<SavedNode>) {
        let is_there = |id: u64, node: &Node| {
            let found = self.walk(id).and_then(|fd| host::stat(fd.as_fd()));
            found.is_ok_and(|stat| node.key == Some(Key::of(&stat)))
        };
        let saved = |(id, node): (&u64, &Node)| SavedNode {
            id: *id,
            lookups: node.lookups,
            kind: node.kind,
            place: node.place.clone().filter(|_| is_there(*id, node)),
        };
        let others = self.nodes.iter().filter(|(id, _)| **id != ROOT);
        let mut nodes: Vec<_> = others.map(saved).collect();
        nodes.sort_by_key(|node| node.id);
        (self.next, nodes)
    }

    /// Takes up saved nodes. Those that can't be found, or are something else now, are stale. None if the data is broken.
    pub(super) fn restore(&mut self, next: u64, saved: Vec<SavedNode>) -> Option<()> {
        if saved.len() >= self.max {
            return None;
        }
        let ids: Vec<_> = saved.iter().map(|node| node.id).collect();
        for node in saved {
            let known = self.nodes.contains_key(&node.id);
            if known || node.id <= ROOT || node.id >= next || node.lookups == 0 {
                return None;
            }
            let restored = Node {
                lookups: node.lookups,
                kind: node.kind,
                key: None,
                place: node.place,
                fd: None,
                opens: 0,
                recent: false,
                stamp: None,
            };
            self.nodes.insert(node.id, restored);
        }
        self.next = next;
        for id in ids {
            let found = self.find_again(id);
            if found.is_none()
                && let Some(node) = self.nodes.get_mut(&id)
            {
                node.place = None;
            }
        }
        Some(())
    }

    fn find_again(&mut self, id: u64) -> Option<()> {
        let fd = self.walk(id).ok()?;
        let stat = host::stat(fd.as_fd()).ok()?;
        let key = Key::of(&stat);
        let node = self.nodes.get_mut(&id)?;
        if node.kind != host::kind(&stat) || self.by_key.contains_key(&key) {
            return None;
        }
        node.key = Some(key);
        self.by_key.insert(key, id);
        self.meet(key.device);
        self.keep(id, fd);
        Some(())
    }
}
