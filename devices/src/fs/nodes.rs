//! The files that the guest knows: what a node ID stands for.
//!
//! A node is held by an `O_PATH` descriptor, so neither a rename nor a symbolic link put in its place leads anywhere else.
//! A child is found by one component below its directory's descriptor, never following a link. There are fewer
//! descriptors than files in a large tree, so the ones that were not used for the longest time are closed; such a
//! node is found again by the names that led to it, and is stale (ESTALE, upon which Linux looks the name up again) if
//! something else is there now. The same names are what is saved.

mod saved;

use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::host::{self, Stat};
pub(super) use saved::SavedNode;

/// The shared directory itself.
pub(super) const ROOT: u64 = 1;
/// How deep below a directory that is still open a node may be to be found again.
const MAX_DEPTH: usize = 1024;
/// How many that were used lately are passed over in a search for a descriptor to close.
const SECOND_CHANCES: usize = 64;
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

impl Node {
    /// Whether it would not be found again if its descriptor were closed.
    fn is_pinned(&self) -> bool {
        self.opens > 0 || self.place.is_none()
    }
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
    /// It is in [`Nodes::clock`].
    in_clock: bool,
    stamp: Option<Stamp>,
}

/// What there is of a node.
pub(super) enum Held {
    /// Its descriptor.
    Open(Arc<OwnedFd>),
    /// The way to it.
    Closed(Way),
}

/// How a node is found again: an open directory, and names from there, the last one first.
pub(super) struct Way {
    from: Arc<OwnedFd>,
    names: Vec<CString>,
}

impl Way {
    /// Goes there, which may have to wait for the host.
    pub(super) fn walk(&self) -> Result<OwnedFd, Errno> {
        let step = |from: OwnedFd, name: &CString| host::open_path(from.as_fd(), name);
        let (last, others) = self.names.split_last().ok_or(Errno::STALE)?;
        let first = host::open_path(self.from.as_fd(), last);
        let found = first.and_then(|first| others.iter().rev().try_fold(first, step));
        found.map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => Errno::STALE,
            error => error,
        })
    }
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: HashMap<u64, Node>,
    by_key: HashMap<Key, u64>,
    /// The next ID; none comes twice.
    next: u64,
    max: usize,
    /// Nodes whose descriptors could be closed, in the order in which that is considered. Some may be gone or pinned by
    /// now; those that are unpinned are put back.
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
            in_clock: false,
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

    /// A node's descriptor, or how to find it again if it was closed.
    pub(super) fn held(&mut self, id: u64) -> Result<Held, Errno> {
        let node = self.nodes.get_mut(&id).ok_or(Errno::STALE)?;
        node.recent = true;
        if let Some(fd) = &node.fd {
            return Ok(Held::Open(Arc::clone(fd)));
        }
        self.way(id, &mut { MAX_DEPTH }).map(Held::Closed)
    }

    /// Takes the descriptor of a node that was found again, if that is what it is.
    pub(super) fn found(
        &mut self,
        id: u64,
        fd: OwnedFd,
        stat: &Stat,
    ) -> Result<Arc<OwnedFd>, Errno> {
        let node = self.nodes.get(&id).ok_or(Errno::STALE)?;
        if node.key != Some(Key::of(stat)) {
            return Err(Errno::STALE);
        }
        // Somebody else may have found it meanwhile.
        if let Some(fd) = &node.fd {
            return Ok(Arc::clone(fd));
        }
        self.keep(id, fd)
    }

    /// Whether the guest may know one more file; asked before one is made.
    pub(super) fn check_room(&self) -> Result<(), Errno> {
        if self.nodes.len() >= self.max {
            return Err(Errno::NFILE);
        }
        Ok(())
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
                let kept = self.keep(id, fd);
                kept.inspect_err(|_| self.forget(id, 1))?;
            }
            self.consider(id);
            return Ok(id);
        }
        self.check_room()?;
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
            in_clock: false,
            stamp: None,
        };
        self.nodes.insert(id, node);
        self.by_key.insert(key, id);
        let kept = self.keep(id, fd);
        kept.inspect_err(|_| self.forget(id, 1))?;
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

    /// Something was seen at a place: if it is a node, the place is its own from now on.
    pub(super) fn seen(&mut self, parent: u64, name: &CStr, stat: &Stat) {
        if let Some(id) = self.by_key.get(&Key::of(stat)).copied()
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
        self.consider(id);
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

    /// Closes a descriptor, where the process has no more of them; whether there was one to close.
    pub(super) fn close_one(&mut self) -> bool {
        let before = self.open;
        self.close_some(before.saturating_sub(1));
        self.open < before
    }

    /// Opens a node by the names that led to it, at most `budget` of them, which are taken from it.
    fn walk(&self, id: u64, budget: &mut usize) -> Result<OwnedFd, Errno> {
        self.way(id, budget)?.walk()
    }

    /// The names that led to a node, from the nearest directory on that is open.
    fn way(&self, id: u64, budget: &mut usize) -> Result<Way, Errno> {
        let mut names = Vec::new();
        let mut at = id;
        loop {
            let node = self.nodes.get(&at).ok_or(Errno::STALE)?;
            if let Some(fd) = &node.fd
                && at != id
            {
                let from = Arc::clone(fd);
                return Ok(Way { from, names });
            }
            let place = node.place.as_ref().ok_or(Errno::STALE)?;
            // Renames by others can have made a circle.
            *budget = budget.checked_sub(1).ok_or(Errno::STALE)?;
            names.push(place.name.clone());
            at = place.parent;
        }
    }

    /// Keeps a descriptor of a node that has none; NFILE if there are too many that can't be closed.
    fn keep(&mut self, id: u64, fd: OwnedFd) -> Result<Arc<OwnedFd>, Errno> {
        if self.open >= self.max_open {
            self.close_some(self.max_open.saturating_sub(1));
            if self.open >= self.max_open {
                return Err(Errno::NFILE);
            }
        }
        let fd = Arc::new(fd);
        if let Some(node) = self.nodes.get_mut(&id)
            && node.fd.is_none()
        {
            node.fd = Some(Arc::clone(&fd));
            self.open += 1;
        }
        self.consider(id);
        Ok(fd)
    }

    /// Puts a node into the clock if its descriptor can be closed.
    fn consider(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id)
            && id != ROOT
            && node.fd.is_some()
            && !node.in_clock
            && !node.is_pinned()
        {
            node.in_clock = true;
            self.clock.push_back(id);
        }
        // Nodes that were forgotten leave their places behind.
        if self.clock.len() > 2 * self.open + 64 {
            let nodes = &self.nodes;
            self.clock.retain(|id| nodes.contains_key(id));
        }
    }

    /// Closes descriptors until `wanted` are left, or all that are left are needed.
    fn close_some(&mut self, wanted: usize) {
        let mut chances = SECOND_CHANCES;
        while self.open > wanted
            && let Some(id) = self.clock.pop_front()
        {
            let Some(node) = self.nodes.get_mut(&id) else {
                continue;
            };
            node.in_clock = false;
            if node.fd.is_none() || node.is_pinned() {
                continue;
            }
            if node.recent && chances > 0 {
                chances -= 1;
                node.recent = false;
                self.consider(id);
            } else {
                node.fd = None;
                self.open -= 1;
            }
        }
    }
}
