//! The guest: registers, queues, and an event loop that is run by hand.

use std::sync::Arc;

use event_manager::{EventManager, SubscriberOps};
use rustix::event::{PollFd, PollFlags, Timespec};
use vm_memory::{Bytes, GuestAddress};

use super::{Counter, Ring};
use crate::transport::VERSION_1;
use crate::{GuestMemory, MmioTransport, TransportState, VirtioDevice, Written};

const EVENT_IDX: u64 = 1 << 29;

/// Where queue i lies; buffers of tests lie below.
fn ring_base(index: usize) -> u64 {
    0x20_0000 + u64::try_from(index).unwrap() * 0x1_0000
}

pub(crate) struct Driver {
    pub(crate) transport: Arc<MmioTransport>,
    pub(crate) memory: GuestMemory,
    pub(crate) interrupts: Arc<Counter>,
    pub(crate) rings: Vec<Ring>,
    events: EventManager<Arc<MmioTransport>>,
}

impl Driver {
    /// A device after power-on.
    pub(crate) fn new(device: Box<dyn VirtioDevice>) -> Self {
        let memory = super::memory();
        let interrupts = Arc::new(Counter::default());
        let line = Arc::new(Arc::clone(&interrupts));
        let transport = MmioTransport::new(device, memory.clone(), line).unwrap();
        Self::with(transport, memory, interrupts)
    }

    /// A device with a driver that is ready.
    pub(crate) fn ready(device: Box<dyn VirtioDevice>) -> Self {
        let mut driver = Self::new(device);
        driver.start(u64::MAX);
        driver
    }

    fn with(transport: MmioTransport, memory: GuestMemory, interrupts: Arc<Counter>) -> Self {
        let transport = Arc::new(transport);
        let mut events = EventManager::new().unwrap();
        events.add_subscriber(Arc::clone(&transport));
        Self {
            transport,
            memory,
            interrupts,
            rings: Vec::new(),
            events,
        }
    }

    /// The same guest with its device restored from `state`.
    pub(crate) fn restored(self, state: &TransportState, device: Box<dyn VirtioDevice>) -> Self {
        let line = Arc::new(Arc::clone(&self.interrupts));
        let transport = MmioTransport::restore(state, device, self.memory.clone(), line).unwrap();
        let mut driver = Self::with(transport, self.memory, self.interrupts);
        driver.rings = self.rings;
        driver
    }

    pub(crate) fn read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.transport.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    pub(crate) fn write(&self, offset: u64, value: u32) {
        let written = self.transport.write(offset, &value.to_le_bytes());
        if written == Written::Resets {
            self.await_reset();
        }
    }

    /// Does what the thread of the device would do until nothing is in flight any more.
    fn await_reset(&self) {
        let fd = self.transport.poll_fd().unwrap();
        while self.transport.in_flight() > 0 {
            // SAFETY: the device, whose descriptor it is, lives as long as its transport does.
            #[allow(unsafe_code)]
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            let mut fds = [PollFd::new(&fd, PollFlags::IN)];
            let patience = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            // Others may be at work for the device as well.
            rustix::event::poll(&mut fds, Some(&patience)).unwrap();
            self.transport.on_poll();
        }
        self.transport.await_reset();
    }

    pub(crate) fn offered(&self) -> u64 {
        self.write(0x14, 0);
        let low = self.read(0x10);
        self.write(0x14, 1);
        u64::from(self.read(0x10)) << 32 | u64::from(low)
    }

    /// Resets the device and negotiates what is both offered and wanted; whether the device agreed.
    pub(crate) fn negotiate(&mut self, wanted: u64) -> bool {
        for status in [0, 1, 3] {
            self.write(0x70, status);
        }
        let features = self.offered() & wanted;
        for (half, value) in [(0, features & 0xffff_ffff), (1, features >> 32)] {
            self.write(0x24, half);
            self.write(0x20, u32::try_from(value).unwrap());
        }
        self.write(0x70, 11);
        self.read(0x70) == 11
    }

    /// All of the initialisation (virtio 1.2, section 3.1.1).
    pub(crate) fn start(&mut self, wanted: u64) {
        assert!(self.negotiate(wanted | VERSION_1));
        self.rings.clear();
        for index in 0.. {
            self.write(0x30, index);
            let size = self.read(0x34);
            if size == 0 {
                break;
            }
            let base = ring_base(self.rings.len());
            let ring = Ring::new(&self.memory, base, u16::try_from(size.min(256)).unwrap());
            self.place(&ring);
            self.write(0x44, 1);
            self.rings.push(ring);
        }
        self.write(0x70, 15);
        assert_eq!(self.read(0x70), 15, "the device did not start");
        self.run();
    }

    /// Describes a ring to the selected queue.
    pub(crate) fn place(&self, ring: &Ring) {
        self.write(0x38, ring.size.into());
        for (register, address) in [(0x80, ring.desc), (0x90, ring.avail), (0xa0, ring.used)] {
            self.write(register, u32::try_from(address & 0xffff_ffff).unwrap());
            self.write(register + 4, u32::try_from(address >> 32).unwrap());
        }
    }

    pub(crate) fn takes_event_idx(&self) -> bool {
        self.offered() & EVENT_IDX != 0
    }

    pub(crate) fn kick(&mut self, queue: u32) {
        self.write(0x50, queue);
        self.run();
    }

    /// Runs the event loop until nothing is left to do. A device that always has more to do would be a stall.
    pub(crate) fn run(&mut self) {
        for _ in 0..100_000 {
            if self.events.run_with_timeout(0).unwrap() == 0 {
                return;
            }
        }
        panic!("the event loop never comes to rest");
    }

    /// Runs the event loop until something has come true; what does not within a minute never will.
    pub(crate) fn run_until<T>(&mut self, mut come: impl FnMut(&mut Self) -> Option<T>) -> T {
        for _ in 0..600 {
            self.run();
            if let Some(result) = come(self) {
                return result;
            }
            self.events.run_with_timeout(100).unwrap();
        }
        panic!("it never came");
    }

    /// Runs the event loop on a thread of its own, as a VMM does, while `guest` is at work.
    pub(crate) fn beside_its_loop(&mut self, guest: impl FnOnce(&Self, &mut Vec<Ring>)) {
        let mut events = EventManager::new().unwrap();
        std::mem::swap(&mut events, &mut self.events);
        let stop = std::sync::atomic::AtomicBool::new(false);
        let mut rings = std::mem::take(&mut self.rings);
        std::thread::scope(|scope| {
            let looping = scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    events.run_with_timeout(10).unwrap();
                }
                events
            });
            guest(self, &mut rings);
            stop.store(true, std::sync::atomic::Ordering::SeqCst);
            self.events = looping.join().unwrap();
        });
        self.rings = rings;
    }

    /// Whether the device waits for a reset.
    pub(crate) fn is_lost(&self) -> bool {
        self.read(0x70) & 64 != 0
    }

    pub(crate) fn put(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    pub(crate) fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        bytes
    }

    /// Offers one request and waits for it; the number of bytes that were written.
    pub(crate) fn request(&mut self, queue: usize, buffers: &[(u64, u32, bool)]) -> Option<u32> {
        let head = self.rings[queue].add(buffers);
        self.kick(u32::try_from(queue).unwrap());
        let used = self.rings[queue].used();
        used.iter().find(|(id, _)| *id == head).map(|(_, len)| *len)
    }

    /// Offers one request and waits until the device is done with it, which may be later; the number of bytes that were
    /// written.
    pub(crate) fn request_and_wait(&mut self, queue: usize, buffers: &[(u64, u32, bool)]) -> u32 {
        let head = self.rings[queue].add(buffers);
        self.kick(u32::try_from(queue).unwrap());
        self.wait_for(queue, 1)
            .iter()
            .find(|(id, _)| *id == head)
            .expect("another request was answered")
            .1
    }

    /// Runs the event loop until the device is done with so many requests of a queue.
    pub(crate) fn wait_for(&mut self, queue: usize, count: usize) -> Vec<(u16, u32)> {
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let mut used = self.rings[queue].used();
        while used.len() < count {
            assert!(std::time::Instant::now() < patience, "nothing happens");
            // It may be interrupted, with no event.
            self.events.run_with_timeout(1000).unwrap();
            used.extend(self.rings[queue].used());
        }
        used
    }
}
