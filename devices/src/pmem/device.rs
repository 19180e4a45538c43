//! The behaviour of virtio-pmem.

use std::any::Any;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::config::{self, PmemConfig};
use super::mapping::Mapping;
use super::state::{PmemError, PmemRestoreError, PmemState};
use crate::device::{
    DeviceState, DeviceType, Finished, Job, Progress, Resources, StartError, VirtioDevice,
};
use crate::iov::Span;
use crate::metrics::{Counter, Metrics};
use crate::poller::Poller;
use crate::rate::{RateControl, RateLimiter};
use crate::worker::{self, Outcome, Worker};
use crate::{Chain, GuestMemory, QueueState};

const QUEUES: &[u16] = &[64];
/// The only request that there is (section 5.19.6).
const FLUSH: u32 = 0;
/// The results of a request.
const DONE: u32 = 0;
const FAILED: u32 = 1;

counters! {
    /// What a device of persistent memory did since it was made. Reads and writes of the guest are accesses to memory, which nobody
    /// sees.
    pub struct PmemCounters {
        /// Flushes that were done.
        pub flush_count: Counter,
        /// Requests that failed, or could not be understood.
        pub event_fails: Counter,
        /// How often the queue was announced by the driver.
        pub queue_event_count: Counter,
        /// Flushes that had to wait for the rate limit.
        pub rate_limiter_throttled_events: Counter,
        /// Events of the rate limit's timer.
        pub rate_limiter_event_count: Counter,
    }
}

/// Persistent memory.
#[derive(Debug)]
pub struct Pmem {
    config: PmemConfig,
    worker: Worker,
    flusher: Flusher,
    poller: Poller,
    /// The flush that was done while the device was stopped.
    landed: Option<Box<Flush>>,
}

/// The device without its queue.
#[derive(Debug)]
struct Flusher {
    mapping: Arc<Mapping>,
    limiter: RateLimiter,
    /// Whether a request waits for the limiter.
    waits: bool,
    counters: Arc<PmemCounters>,
    /// A flush that a thread is to do.
    next: Option<Box<Flush>>,
    /// A thread does one.
    is_busy: bool,
}

/// A flush, which takes as long as the host's disk does.
#[derive(Debug)]
struct Flush {
    mapping: Arc<Mapping>,
    memory: GuestMemory,
    chain: Chain,
    result: u32,
    written: u32,
}

impl Job for Flush {
    fn run(&mut self) {
        self.result = match self.mapping.sync() {
            Ok(()) => DONE,
            Err(error) => {
                tracing::warn!(%error, "persistent memory can't be flushed");
                FAILED
            }
        };
        self.written = answer(&self.memory, &self.chain, self.result);
    }
}

/// Writes a request's result; how many bytes.
fn answer(memory: &GuestMemory, chain: &Chain, result: u32) -> u32 {
    let answer = Span::all(memory, chain.writable()).copy_in(&result.to_le_bytes());
    answer.map_or(0, worker::written)
}

impl Pmem {
    /// Persistent memory that the VMM shows to the guest at the configured address.
    ///
    /// # Errors
    /// [`PmemError`] if it does not fit there, or the kernel has no more descriptors.
    pub fn new(config: PmemConfig, mapping: Arc<Mapping>) -> Result<Self, PmemError> {
        let limiter = RateLimiter::new(&config.rate).map_err(PmemError::Events)?;
        Self::with(config, mapping, limiter)
    }

    /// Persistent memory as it was saved, with its files mapped again.
    ///
    /// # Errors
    /// [`PmemRestoreError`] if they can't be the same files, or as for new memory.
    pub fn restore(state: &PmemState, mapping: Arc<Mapping>) -> Result<Self, PmemRestoreError> {
        if state.size != mapping.size() {
            return Err(PmemRestoreError::Size {
                saved: state.size,
                given: mapping.size(),
            });
        }
        if state.read_only != mapping.is_read_only() {
            return Err(PmemRestoreError::ReadOnly {
                saved: state.read_only,
                given: mapping.is_read_only(),
            });
        }
        let limiter = RateLimiter::restore(&state.rate)?;
        Ok(Self::with(state.config, mapping, limiter)?)
    }

    fn with(
        config: PmemConfig,
        mapping: Arc<Mapping>,
        limiter: RateLimiter,
    ) -> Result<Self, PmemError> {
        config.check(&mapping)?;
        let poller = Poller::new().map_err(PmemError::Events)?;
        poller.add_edge(limiter.fd()).map_err(PmemError::Events)?;
        Ok(Self {
            config,
            worker: Worker::default(),
            flusher: Flusher {
                mapping,
                limiter,
                waits: false,
                counters: Arc::default(),
                next: None,
                is_busy: false,
            },
            poller,
            landed: None,
        })
    }

    /// What changes the rate limits, from any thread.
    #[must_use]
    pub fn rate_control(&self) -> RateControl {
        self.flusher.limiter.control()
    }

    /// What the device did.
    #[must_use]
    pub fn counters(&self) -> Arc<PmemCounters> {
        self.flusher.counters.clone()
    }

    fn flush_queue(&mut self, queue: u16) -> Progress {
        let flusher = &mut self.flusher;
        if flusher.is_busy {
            // Who is at work looks at the queue when it is done.
            return Progress::Done;
        }
        self.worker
            .work(queue, |memory, chain| flusher.serve(memory, chain))
    }
}

impl Flusher {
    fn serve(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        if !self.limiter.take(0, 1) {
            if !std::mem::replace(&mut self.waits, true) {
                self.counters.rate_limiter_throttled_events.count();
            }
            return Outcome::Later;
        }
        self.waits = false;
        let mut kind = [0; 4];
        let read = Span::all(memory, chain.readable()).copy_out(&mut kind);
        if read != Ok(kind.len()) || u32::from_le_bytes(kind) != FLUSH {
            tracing::debug!("a request for persistent memory can't be understood");
            self.counters.event_fails.count();
            return Outcome::Used(answer(memory, chain, FAILED));
        }
        let mut copy = Chain::new();
        copy.copy_from(chain);
        self.is_busy = true;
        self.next = Some(Box::new(Flush {
            mapping: Arc::clone(&self.mapping),
            memory: memory.clone(),
            chain: copy,
            result: FAILED,
            written: 0,
        }));
        Outcome::Full
    }
}

impl VirtioDevice for Pmem {
    fn device_type(&self) -> DeviceType {
        DeviceType::Pmem
    }

    fn queue_sizes(&self) -> &[u16] {
        QUEUES
    }

    fn features(&self) -> u64 {
        0
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let space = config::config_space(self.config.address, self.flusher.mapping.size());
        crate::device::read_space(&space, offset, data);
    }

    fn start(&mut self, resources: Resources) -> Result<(), StartError> {
        self.worker.start(resources, QUEUES.len())?;
        if let (Some(flush), Some(mut running)) = (self.landed.take(), self.worker.running()) {
            running.give_back(0, &flush.chain, flush.written);
        }
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.stop()
    }

    fn in_flight(&self) -> usize {
        usize::from(self.flusher.is_busy)
    }

    fn take_job(&mut self) -> Option<Box<dyn Job>> {
        let next = self.flusher.next.take()?;
        Some(next)
    }

    fn finish(&mut self, job: Box<dyn Job>) -> Finished {
        let job: Box<dyn Any> = job;
        let Ok(flush) = job.downcast::<Flush>() else {
            return Finished::Quietly;
        };
        self.flusher.is_busy = false;
        let counters = &self.flusher.counters;
        match flush.result {
            DONE => counters.flush_count.count(),
            _ => counters.event_fails.count(),
        }
        if self.worker.is_stopped() {
            self.landed = Some(flush);
        } else if let Some(mut running) = self.worker.running() {
            running.give_back(0, &flush.chain, flush.written);
        }
        Finished::Queue(0)
    }

    fn notify(&mut self, queue: u16) -> Progress {
        self.flusher.counters.queue_event_count.count();
        self.flush_queue(queue)
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.poller.fd())
    }

    /// The limit's timer went off: the queue is looked at again.
    fn poll(&mut self) -> Progress {
        self.flusher.counters.rate_limiter_event_count.count();
        self.poller.drain();
        self.flush_queue(0)
    }

    fn reset(&mut self) {
        self.landed = None;
    }

    fn metrics(&self) -> Arc<dyn Metrics> {
        self.flusher.counters.clone()
    }

    fn save(&self) -> DeviceState {
        DeviceState::Pmem(PmemState {
            config: self.config,
            size: self.flusher.mapping.size(),
            read_only: self.flusher.mapping.is_read_only(),
            rate: self.flusher.limiter.save(),
        })
    }
}
