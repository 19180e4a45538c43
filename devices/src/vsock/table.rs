//! All connections of a device, and whose turn it is to send to the guest.

use std::collections::{HashMap, VecDeque};

use super::connection::{Connection, Key};

/// The most connections at a time. Each holds a descriptor, so the process's limit may be reached before.
pub(super) const MAX_CONNECTIONS: usize = 8192;
/// How much a new connection may keep for a slow reader, in bytes, by how many connections there are already. However
/// many a guest makes and however slow their readers are, all together keep less than 100 MiB, and none of them is
/// stopped for another's sake.
const BUFFERS: &[(usize, u32)] = &[(64, 256 << 10), (256, 64 << 10), (MAX_CONNECTIONS, 8 << 10)];

/// Where a connection is in the table; reused when it is gone.
pub(super) type Index = u32;

/// Connections by place and by name, with a ring of those that want a turn. Each place is at most once in the ring, even
/// when its connection went away meanwhile, so the ring can't outgrow the table.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<Index>,
    names: HashMap<Key, Index>,
    ring: VecDeque<Index>,
}

#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    in_ring: bool,
}

impl Table {
    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= MAX_CONNECTIONS
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// What the next connection may keep for a slow reader, in bytes.
    pub(super) fn next_buffer(&self) -> u32 {
        let count = self.len();
        let fitting = BUFFERS.iter().find(|(below, _)| count < *below);
        // A full table takes no connection.
        fitting.map_or(0, |(_, buffer)| *buffer)
    }

    pub(super) fn find(&self, key: Key) -> Option<Index> {
        self.names.get(&key).copied()
    }

    pub(super) fn get_mut(&mut self, index: Index) -> Option<&mut Connection> {
        self.slot_mut(index)?.connection.as_mut()
    }

    /// Adds a connection with a new name; none if the table is full.
    pub(super) fn insert(&mut self, connection: Connection) -> Option<Index> {
        if self.is_full() {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot::default());
                Index::try_from(self.slots.len() - 1).ok()?
            }
        };
        self.names.insert(connection.key, index);
        self.slot_mut(index)?.connection = Some(connection);
        Some(index)
    }

    pub(super) fn remove(&mut self, index: Index) -> Option<Connection> {
        let connection = self.slot_mut(index)?.connection.take()?;
        self.free_name(connection.key, index);
        self.free.push(index);
        Some(connection)
    }

    /// Lets another connection have this one's name, while this one stays.
    pub(super) fn free_name(&mut self, key: Key, index: Index) {
        if self.names.get(&key) == Some(&index) {
            self.names.remove(&key);
        }
    }

    /// Gives a connection a turn, behind the others.
    pub(super) fn enqueue(&mut self, index: Index) {
        let Some(slot) = self.slot_mut(index) else {
            return;
        };
        if !std::mem::replace(&mut slot.in_ring, true) {
            self.ring.push_back(index);
        }
    }

    /// The place whose turn it is; it has then had it.
    pub(super) fn dequeue(&mut self) -> Option<Index> {
        let index = self.ring.pop_front()?;
        if let Some(slot) = self.slot_mut(index) {
            slot.in_ring = false;
        }
        Some(index)
    }

    pub(super) fn has_turns(&self) -> bool {
        !self.ring.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn slot_mut(&mut self, index: Index) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index).ok()?)
    }
}
