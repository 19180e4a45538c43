//! The driver's side of a queue, laid out by hand so that a test can also lay it out wrongly.

use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress};

use crate::GuestMemory;

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// A descriptor: address, length, flags, next.
pub(crate) type Descriptor = (u64, u32, u16, u16);

/// A buffer of a request: address, length, whether the device writes it.
pub(crate) fn desc(addr: u64, len: usize, device_writes: bool) -> (u64, u32, bool) {
    (addr, u32::try_from(len).unwrap(), device_writes)
}

#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) memory: GuestMemory,
    pub(crate) size: u16,
    pub(crate) desc: u64,
    pub(crate) avail: u64,
    pub(crate) used: u64,
    next_desc: u16,
    avail_idx: u16,
    last_used: u16,
}

impl Ring {
    /// A queue whose areas lie in the 64 KiB from `base` on.
    pub(crate) fn new(memory: &GuestMemory, base: u64, size: u16) -> Self {
        memory
            .write_slice(&[0; 0x1_0000], GuestAddress(base))
            .unwrap();
        Self {
            memory: memory.clone(),
            size,
            desc: base,
            avail: base + 0x8000,
            used: base + 0xc000,
            next_desc: 0,
            avail_idx: 0,
            last_used: 0,
        }
    }

    pub(crate) fn set_descriptor(&self, index: u16, (addr, len, flags, next): Descriptor) {
        self.set_descriptor_at(self.desc + u64::from(index) * 16, (addr, len, flags, next));
    }

    pub(crate) fn set_descriptor_at(&self, at: u64, (addr, len, flags, next): Descriptor) {
        self.memory
            .write_obj(addr.to_le(), GuestAddress(at))
            .unwrap();
        self.memory
            .write_obj(len.to_le(), GuestAddress(at + 8))
            .unwrap();
        self.memory
            .write_obj(flags.to_le(), GuestAddress(at + 12))
            .unwrap();
        self.memory
            .write_obj(next.to_le(), GuestAddress(at + 14))
            .unwrap();
    }

    /// Makes a chain of buffers available; its head.
    pub(crate) fn add(&mut self, buffers: &[(u64, u32, bool)]) -> u16 {
        let head = self.next_desc;
        for (index, (addr, len, device_writes)) in buffers.iter().enumerate() {
            let next = (self.next_desc + 1) % self.size;
            let mut flags = if *device_writes { WRITE } else { 0 };
            if index + 1 < buffers.len() {
                flags |= NEXT;
            }
            self.set_descriptor(self.next_desc, (*addr, *len, flags, next));
            self.next_desc = next;
        }
        self.publish(head);
        head
    }

    /// Makes the same available through a table of its own at `table`.
    pub(crate) fn add_indirect(&mut self, table: u64, buffers: &[(u64, u32, bool)]) -> u16 {
        for (index, (addr, len, device_writes)) in (0_u16..).zip(buffers) {
            let mut flags = if *device_writes { WRITE } else { 0 };
            if usize::from(index) + 1 < buffers.len() {
                flags |= NEXT;
            }
            self.set_descriptor_at(
                table + u64::from(index) * 16,
                (*addr, *len, flags, index + 1),
            );
        }
        let head = self.next_desc;
        let len = u32::try_from(buffers.len() * 16).unwrap();
        self.set_descriptor(head, (table, len, INDIRECT, 0));
        self.next_desc = (head + 1) % self.size;
        self.publish(head);
        head
    }

    /// Puts a head into the available ring.
    pub(crate) fn publish(&mut self, head: u16) {
        let slot = self.avail + 4 + u64::from(self.avail_idx % self.size) * 2;
        self.memory
            .write_obj(head.to_le(), GuestAddress(slot))
            .unwrap();
        self.set_avail_idx(self.avail_idx.wrapping_add(1));
    }

    pub(crate) fn set_avail_idx(&mut self, idx: u16) {
        self.avail_idx = idx;
        self.memory
            .store(idx.to_le(), GuestAddress(self.avail + 2), Ordering::SeqCst)
            .unwrap();
    }

    /// Asks for an interrupt once `idx` is used; with EVENT_IDX.
    pub(crate) fn set_used_event(&self, idx: u16) {
        let at = self.avail + 4 + u64::from(self.size) * 2;
        self.memory
            .write_obj(idx.to_le(), GuestAddress(at))
            .unwrap();
    }

    pub(crate) fn set_avail_flags(&self, flags: u16) {
        self.memory
            .write_obj(flags.to_le(), GuestAddress(self.avail))
            .unwrap();
    }

    /// Requests that the device still has.
    pub(crate) fn outstanding(&self) -> u16 {
        self.avail_idx.wrapping_sub(self.last_used)
    }

    /// What the device gave back since the last call: head and bytes written.
    pub(crate) fn used(&mut self) -> Vec<(u16, u32)> {
        let idx: u16 = self
            .memory
            .load(GuestAddress(self.used + 2), Ordering::SeqCst)
            .unwrap();
        let mut used = Vec::new();
        while self.last_used != idx {
            let at = self.used + 4 + u64::from(self.last_used % self.size) * 8;
            let id: u32 = self.memory.read_obj(GuestAddress(at)).unwrap();
            let len: u32 = self.memory.read_obj(GuestAddress(at + 4)).unwrap();
            used.push((u16::try_from(id).unwrap(), len));
            self.last_used = self.last_used.wrapping_add(1);
        }
        used
    }
}
