//! What threads do for a share without the device's lock: requests, and attempts at locks that others have.

use super::server::{Served, Server};
use super::waiting::Waiter;
use super::wire::{Header, IN_HEADER, op};
use crate::iov::Span;
use crate::{Chain, GuestMemory, Job};

/// One request, on its way to the host and back.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) queue: u16,
    pub(super) chain: Chain,
    pub(super) served: Served,
    /// How many requests were taken before it.
    pub(super) order: u64,
    /// The file that it closes, if that is what it does.
    pub(super) closes: Option<u64>,
    server: Server,
    memory: Option<GuestMemory>,
}

impl Errand {
    pub(super) fn new(server: Server) -> Self {
        Self {
            queue: 0,
            chain: Chain::new(),
            served: Served::Done(0),
            order: 0,
            closes: None,
            server,
            memory: None,
        }
    }

    /// Takes a request.
    pub(super) fn take(&mut self, queue: u16, memory: &GuestMemory, chain: &Chain) {
        self.queue = queue;
        self.chain.copy_from(chain);
        self.closes = closes(memory, chain);
        if self.memory.is_none() {
            self.memory = Some(memory.clone());
        }
    }
}

/// The file that a request closes. It is looked at before its turn, and only for that: what is done is read anew.
fn closes(memory: &GuestMemory, chain: &Chain) -> Option<u64> {
    let mut head = [0; IN_HEADER];
    let copied = Span::all(memory, chain.readable()).copy_out(&mut head);
    let header = Header::parse(head.get(..copied.ok()?)?)?;
    (header.opcode == op::RELEASE).then_some(header.node)
}

impl Job for Errand {
    fn run(&mut self) {
        let Some(memory) = &self.memory else {
            return;
        };
        let (readable, writable) = (self.chain.readable(), self.chain.writable());
        self.served = self.server.serve(memory, readable, writable);
    }
}

/// Requests for locks, tried once more in the order in which they came.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) waiters: Vec<Waiter>,
    /// Those that need not wait any longer, and how that ended.
    pub(super) done: Vec<(Waiter, Result<(), rustix::io::Errno>)>,
    server: Server,
}

impl Retry {
    pub(super) fn new(server: Server, waiters: Vec<Waiter>) -> Self {
        Self {
            waiters,
            done: Vec::new(),
            server,
        }
    }
}

impl Job for Retry {
    fn run(&mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            match self.server.lock(&waiter.lock) {
                Err(rustix::io::Errno::AGAIN) => self.waiters.push(waiter),
                result => self.done.push((waiter, result)),
            }
        }
    }
}

/// What a session left behind, to be closed.
#[derive(Debug)]
pub(super) struct Disposal(pub(super) Option<super::server::Remains>);

impl Job for Disposal {
    fn run(&mut self) {
        self.0 = None;
    }
}
