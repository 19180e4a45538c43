//! A split virtqueue (virtio 1.2, section 2.7), of which the driver asks for no interrupts: it looks by itself.

use core::cell::UnsafeCell;
use core::sync::atomic::{Ordering, fence};

/// Descriptors in a queue.
pub const SIZE: usize = 256;

const NEXT: u16 = 1;
const DEVICE_WRITES: u16 = 2;
const NO_INTERRUPT: u16 = 1;

#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

#[repr(C)]
struct Rings {
    descriptors: [Descriptor; SIZE],
    available: Available,
    used: Used,
}

#[repr(C, align(2))]
struct Available {
    flags: u16,
    index: u16,
    ring: [u16; SIZE],
    event: u16,
}

#[repr(C, align(4))]
struct Used {
    flags: u16,
    index: u16,
    ring: [[u32; 2]; SIZE],
    event: u16,
}

/// The memory of one queue.
pub struct Place(UnsafeCell<Rings>);

// SAFETY: there is one thread.
unsafe impl Sync for Place {}

impl Place {
    pub const fn new() -> Self {
        let descriptor = Descriptor {
            address: 0,
            length: 0,
            flags: 0,
            next: 0,
        };
        Self(UnsafeCell::new(Rings {
            descriptors: [descriptor; SIZE],
            available: Available {
                flags: NO_INTERRUPT,
                index: 0,
                ring: [0; SIZE],
                event: 0,
            },
            used: Used {
                flags: 0,
                index: 0,
                ring: [[0; 2]; SIZE],
                event: 0,
            },
        }))
    }
}

/// A piece of memory for the device.
pub struct Part {
    pub address: usize,
    pub length: usize,
    pub device_writes: bool,
}

/// The driver's side of a queue.
pub struct Queue {
    rings: *mut Rings,
    /// Chains that were made available, and that came back.
    made: u16,
    seen: u16,
}

impl Queue {
    pub fn new(place: &'static Place) -> Self {
        Self {
            rings: place.0.get(),
            made: 0,
            seen: 0,
        }
    }

    pub fn descriptors(&self) -> usize {
        self.rings as usize
    }

    pub fn available(&self) -> usize {
        // SAFETY: no more than the address is taken.
        (unsafe { &raw const (*self.rings).available }) as usize
    }

    pub fn used(&self) -> usize {
        // SAFETY: no more than the address is taken.
        (unsafe { &raw const (*self.rings).used }) as usize
    }

    /// Writes a chain into the descriptors from `head` on.
    pub fn describe(&mut self, head: usize, parts: &[Part]) {
        for (at, part) in (head..SIZE).zip(parts) {
            let last = at + 1 == head + parts.len();
            let descriptor = Descriptor {
                address: part.address as u64,
                length: part.length as u32,
                flags: if last { 0 } else { NEXT }
                    | if part.device_writes { DEVICE_WRITES } else { 0 },
                next: if last { 0 } else { at as u16 + 1 },
            };
            // SAFETY: `at` is less than SIZE, and the device has no chain here yet.
            unsafe { (&raw mut (*self.rings).descriptors[at]).write_volatile(descriptor) };
        }
    }

    /// Puts a chain into the ring; the device sees it with [`Self::publish`].
    pub fn offer(&mut self, head: usize) {
        let slot = usize::from(self.made) % SIZE;
        // SAFETY: the slot is less than SIZE.
        unsafe { (&raw mut (*self.rings).available.ring[slot]).write_volatile(head as u16) };
        self.made = self.made.wrapping_add(1);
    }

    /// Shows the device all that was offered.
    pub fn publish(&mut self) {
        fence(Ordering::SeqCst);
        // SAFETY: the place of the index never changes.
        unsafe { (&raw mut (*self.rings).available.index).write_volatile(self.made) };
        fence(Ordering::SeqCst);
    }

    /// The head of the next chain that came back.
    pub fn take(&mut self) -> Option<usize> {
        // SAFETY: the place of the index never changes.
        let index = unsafe { (&raw const (*self.rings).used.index).read_volatile() };
        if index == self.seen {
            return None;
        }
        fence(Ordering::SeqCst);
        let slot = usize::from(self.seen) % SIZE;
        // SAFETY: the slot is less than SIZE.
        let [head, _] = unsafe { (&raw const (*self.rings).used.ring[slot]).read_volatile() };
        self.seen = self.seen.wrapping_add(1);
        Some(head as usize % SIZE)
    }

    /// Waits for the next chain that comes back.
    pub fn wait(&mut self) -> usize {
        loop {
            if let Some(head) = self.take() {
                return head;
            }
            core::hint::spin_loop();
        }
    }
}
