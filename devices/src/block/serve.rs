//! What happens to each request that comes out of a queue.

use std::sync::Arc;
use std::time::Instant;

use super::batch::Batch;
use super::config::MAX_QUEUES;
use super::counters::BlockCounters;
use super::disk::{Buffers, Disk};
use super::flights::Flights;
use super::request::{self, Request};
use super::serial::SERIAL_BYTES;
use crate::iov::Span;
use crate::rate::RateLimiter;
use crate::worker::Outcome;
use crate::{Chain, GuestMemory};

/// What serves the requests of one turn. Nothing here waits for the host.
pub(super) struct Server<'a> {
    pub(super) disk: &'a Arc<Disk>,
    pub(super) serial: &'a [u8; SERIAL_BYTES],
    /// Each write must be safe before it is reported as done.
    pub(super) write_through: bool,
    pub(super) buffers: &'a mut Buffers,
    pub(super) flights: Option<&'a mut Flights>,
    /// Takes what a thread must do. None while one is at work for this queue.
    pub(super) batch: Option<&'a mut Batch>,
    /// No request may begin, because the files are about to be changed.
    pub(super) is_held: bool,
    pub(super) limiter: &'a mut RateLimiter,
    pub(super) waits: &'a mut bool,
    pub(super) refused: &'a mut [bool; MAX_QUEUES as usize],
    pub(super) counters: &'a Arc<BlockCounters>,
    pub(super) features: u64,
    pub(super) queue: u16,
}

impl Server<'_> {
    /// Begins one request, or does it if that is a matter of memory alone, or leaves it where it is.
    pub(super) fn serve(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        if !request::has_status(chain) {
            tracing::debug!("a request has no room for its status");
            self.counters.invalid_reqs_count.count();
            return Outcome::Used(0);
        }
        let request = match Request::parse(self.disk, self.features, memory, chain) {
            Ok(request) => request,
            Err(error) => {
                self.counters.invalid_reqs_count.count();
                return Outcome::Used(request::answer(memory, chain, &Err(error)));
            }
        };
        if self.is_held || self.flights.as_ref().is_some_and(|f| f.is_full()) {
            self.counters.io_engine_throttled_events.count();
            *self.waits = true;
            return Outcome::Later;
        }
        let by_ring = self.flights.is_some() && !self.needs_thread(memory, chain, &request);
        if request == Request::Identify {
            return self.identify(memory, chain);
        }
        // The thread that is at work looks at the queue when it is done.
        if !by_ring && self.batch.as_ref().is_none_or(|batch| batch.is_full()) {
            return Outcome::Later;
        }
        if !self.may_pass(&request) {
            *self.waits = true;
            return Outcome::Later;
        }
        if by_ring {
            return self.launch(memory, chain, request);
        }
        let has_room = self
            .batch
            .as_mut()
            .is_some_and(|batch| batch.add(memory, chain, request));
        match self.flights {
            // Others go on meanwhile.
            Some(_) => Outcome::Kept,
            None if has_room => Outcome::Gathered,
            None => Outcome::Full,
        }
    }

    /// Gives a request to the ring.
    fn launch(&mut self, memory: &GuestMemory, chain: &Chain, request: Request) -> Outcome {
        let Some(flights) = &mut self.flights else {
            return Outcome::Later;
        };
        let began = Instant::now();
        let whose = (self.queue, chain, request, began);
        let begun = flights.begin(self.disk, self.buffers, memory, whose, self.write_through);
        let Some(result) = begun else {
            return Outcome::Kept;
        };
        self.counters.request(&request, &result, began.elapsed());
        Outcome::Used(request::answer(memory, chain, &result))
    }

    /// Answers with the serial number.
    fn identify(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        if !self.may_pass(&Request::Identify) {
            *self.waits = true;
            return Outcome::Later;
        }
        let began = Instant::now();
        let result = request::identify(self.serial, memory, chain);
        self.counters
            .request(&Request::Identify, &result, began.elapsed());
        Outcome::Used(request::answer(memory, chain, &result))
    }

    /// Whether a request is none for a ring: no operation of it does that, or the guest's buffers don't suit direct I/O.
    fn needs_thread(&self, memory: &GuestMemory, chain: &Chain, request: &Request) -> bool {
        let must_bounce = |span: Span<'_>, offset| self.disk.must_bounce(span, offset);
        let bounces = match *request {
            Request::Ranges(_) => return true,
            Request::Read { offset, .. } => must_bounce(request::target(memory, chain), offset),
            Request::Write { offset, .. } => must_bounce(request::source(memory, chain), offset),
            Request::Flush | Request::Identify => Ok(false),
        };
        // What can't be done at all fails the same way in the ring.
        bounces.unwrap_or(false)
    }

    /// Whether the limits let a request pass. One that must wait is counted once, however often it is looked at.
    fn may_pass(&mut self, request: &Request) -> bool {
        let passes = self.limiter.take(request.bytes(), 1);
        if let Some(refused) = self.refused.get_mut(usize::from(self.queue)) {
            let was_refused = std::mem::replace(refused, !passes);
            if !passes && !was_refused {
                self.counters.rate_limiter_throttled_events.count();
            }
        }
        passes
    }
}
