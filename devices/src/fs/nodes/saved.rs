//! Nodes that are saved, and found again.

use std::os::fd::AsFd;

use rustix::fs::FileType;

use super::{Key, MAX_DEPTH, Node, Nodes, Place, ROOT};
use crate::fs::host;

/// A node as saved data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::fs) struct SavedNode {
    pub(in crate::fs) id: u64,
    pub(in crate::fs) lookups: u64,
    pub(in crate::fs) kind: FileType,
    pub(in crate::fs) place: Option<Place>,
}

impl Nodes {
    /// How many names may be walked to save or restore so many nodes: more than any real tree needs, but not what a
    /// hostile one could make of it.
    fn budget(nodes: usize) -> usize {
        16 * nodes + 4 * MAX_DEPTH
    }

    /// The next ID, and all nodes but the root in the order of their IDs. A node is saved with its place only if it is
    /// really there.
    pub(in crate::fs) fn save(&self) -> (u64, Vec<SavedNode>) {
        let mut budget = Self::budget(self.nodes.len());
        let mut is_there = |id: u64, node: &Node| {
            let found = self.walk(id, &mut budget);
            let found = found.and_then(|fd| host::stat(fd.as_fd()));
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
    pub(in crate::fs) fn restore(&mut self, next: u64, saved: Vec<SavedNode>) -> Option<()> {
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
                in_clock: false,
                stamp: None,
            };
            self.nodes.insert(node.id, restored);
        }
        self.next = next;
        let mut budget = Self::budget(ids.len());
        for id in ids {
            let found = self.find_again(id, &mut budget);
            if found.is_none()
                && let Some(node) = self.nodes.get_mut(&id)
            {
                node.place = None;
            }
        }
        Some(())
    }

    fn find_again(&mut self, id: u64, budget: &mut usize) -> Option<()> {
        let fd = self.walk(id, budget).ok()?;
        let stat = host::stat(fd.as_fd()).ok()?;
        let key = Key::of(&stat);
        let node = self.nodes.get_mut(&id)?;
        if node.kind != host::kind(&stat) || self.by_key.contains_key(&key) {
            return None;
        }
        node.key = Some(key);
        self.by_key.insert(key, id);
        self.meet(key.device);
        // Without a descriptor it is found again when it is used.
        let _ = self.keep(id, fd);
        Some(())
    }
}
