//! Requests that a thread does one after the other without the device's lock: all of the synchronous engine, and of the other
//! one those that no ring takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counters::BlockCounters;
use super::disk::{Buffers, Disk};
use super::request::{self, Context, Request};
use super::serial::SERIAL_BYTES;
use crate::{Chain, GuestMemory, Job};

/// The most requests in one batch. They are reported together, which saves interrupts.
const MAX_REQUESTS: usize = 32;
/// Bytes after which a batch is full.
const MAX_BYTES: u64 = 8 << 20;

/// Requests of one queue, on their way to the host's files and back.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) queue: u16,
    serial: [u8; SERIAL_BYTES],
    counters: Arc<BlockCounters>,
    /// There from the first request on; kept, because a machine has one memory.
    memory: Option<GuestMemory>,
    /// There until the requests are done: it may be the last that has the files open, and closing them can take long.
    disk: Option<(Arc<Disk>, bool)>,
    buffers: Buffers,
    /// Those in use come first; the others are kept for what they have allocated.
    items: Vec<Item>,
    count: usize,
    bytes: u64,
}

/// A request, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) chain: Chain,
    request: Request,
    /// When it was taken.
    began: Option<Instant>,
    /// What the used ring is to say.
    pub(super) written: u32,
    /// Bytes of zeros that had to be written.
    pub(super) zeroed: u64,
}

impl Batch {
    pub(super) fn new(
        queue: u16,
        serial: [u8; SERIAL_BYTES],
        counters: Arc<BlockCounters>,
    ) -> Self {
        Self {
            queue,
            serial,
            counters,
            memory: None,
            disk: None,
            buffers: Buffers::default(),
            items: Vec::new(),
            count: 0,
            bytes: 0,
        }
    }

    /// Adds a request; whether there is room for more.
    pub(super) fn add(&mut self, memory: &GuestMemory, chain: &Chain, request: Request) -> bool {
        if self.memory.is_none() {
            self.memory = Some(memory.clone());
        }
        if self.count == self.items.len() {
            self.items.push(Item::default());
        }
        if let Some(item) = self.items.get_mut(self.count) {
            item.chain.copy_from(chain);
            item.request = request;
            item.began = Some(Instant::now());
            self.count += 1;
        }
        self.bytes += match request {
            // Zeros may have to be written.
            Request::Ranges(_) => MAX_BYTES,
            _ => request.bytes(),
        };
        !self.is_full()
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= MAX_REQUESTS || self.bytes >= MAX_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The requests in it.
    pub(super) fn items(&self) -> &[Item] {
        self.items.get(..self.count).unwrap_or_default()
    }

    /// Says what the requests are about; with `write_through`, writes are safe before they are done.
    pub(super) fn set_disk(&mut self, disk: Arc<Disk>, write_through: bool) {
        self.disk = Some((disk, write_through));
    }

    pub(super) fn clear(&mut self) {
        self.disk = None;
        self.count = 0;
        self.bytes = 0;
    }
}

impl Job for Batch {
    fn run(&mut self) {
        let (Some((disk, write_through)), Some(memory)) = (self.disk.take(), &self.memory) else {
            return;
        };
        let mut context = Context {
            disk: &disk,
            buffers: &mut self.buffers,
            serial: &self.serial,
            write_through,
            zeroed: 0,
        };
        for item in self.items.iter_mut().take(self.count) {
            let result = item.request.execute(&mut context, memory, &item.chain);
            item.zeroed = std::mem::take(&mut context.zeroed);
            let time = item.began.map_or(Duration::ZERO, |began| began.elapsed());
            self.counters.request(&item.request, &result, time);
            item.written = request::answer(memory, &item.chain, &result);
        }
    }
}

/// Contents that nobody needs any more. The last one to close a file may have to wait for the host.
#[derive(Debug)]
pub(super) struct Disposal(pub(super) Option<Arc<Disk>>);

impl Job for Disposal {
    fn run(&mut self) {
        self.0 = None;
    }
}
