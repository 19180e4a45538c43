//! What happens to each request that comes out of a queue.

use std::time::Instant;

use super::config::MAX_QUEUES;
use super::counters::BlockCounters;
use super::flights::Flights;
use super::request::{self, Context, Request};
use crate::rate::RateLimiter;
use crate::worker::Outcome;
use crate::{Chain, GuestMemory};

/// Bytes after which other devices have their turn.
const TURN: u64 = 8 << 20;

/// What serves the requests of one turn.
pub(super) struct Server<'a> {
    pub(super) context: Context<'a>,
    pub(super) flights: Option<&'a mut Flights>,
    pub(super) limiter: &'a mut RateLimiter,
    pub(super) waits: &'a mut bool,
    pub(super) refused: &'a mut [bool; MAX_QUEUES as usize],
    pub(super) counters: &'a BlockCounters,
    pub(super) features: u64,
    /// Bytes moved in this turn, by this thread.
    pub(super) moved: u64,
    pub(super) queue: u16,
}

impl Server<'_> {
    /// Does one request, or begins it, or leaves it where it is.
    pub(super) fn serve(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        if !request::has_status(chain) {
            tracing::debug!("a request has no room for its status");
            self.counters.invalid_reqs_count.count();
            return Outcome::Used(0);
        }
        let request = match Request::parse(self.context.disk, self.features, memory, chain) {
            Ok(request) => request,
            Err(error) => {
                self.counters.invalid_reqs_count.count();
                return Outcome::Used(request::answer(memory, chain, &Err(error)));
            }
        };
        if self
            .flights
            .as_ref()
            .is_some_and(|flights| flights.is_full())
        {
            self.counters.io_engine_throttled_events.count();
            *self.waits = true;
            return Outcome::Later;
        }
        if !self.may_pass(&request) {
            *self.waits = true;
            return Outcome::Later;
        }
        let began = Instant::now();
        let is_for_ring = !matches!(request, Request::Identify | Request::Ranges(_));
        let result = match &mut self.flights {
            Some(flights) if is_for_ring => {
                let Context {
                    disk,
                    write_through,
                    ..
                } = self.context;
                let whose = (self.queue, chain, request, began);
                match flights.begin(disk, self.context.buffers, memory, whose, write_through) {
                    Some(result) => result,
                    None => return Outcome::Kept,
                }
            }
            _ => {
                self.moved += match request {
                    // Zeros may have to be written.
                    Request::Ranges(_) => TURN,
                    _ => request.bytes(),
                };
                let result = request.execute(&mut self.context, memory, chain);
                // Known only now, so it may leave a debt.
                let zeroed = std::mem::take(&mut self.context.zeroed);
                if zeroed > 0 {
                    self.limiter.charge(zeroed, 0);
                }
                result
            }
        };
        self.counters.request(&request, &result, began.elapsed());
        let written = request::answer(memory, chain, &result);
        if self.moved >= TURN {
            Outcome::Enough(written)
        } else {
            Outcome::Used(written)
        }
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
