//! The behaviour of virtio-rng.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::config::RngConfig;
use super::state::{RngRestoreError, RngState};
use crate::device::{DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice};
use crate::iov::{Scatter, Span};
use crate::metrics::{Counter, Metrics};
use crate::poller::Poller;
use crate::queue::total_len;
use crate::rate::{RateControl, RateLimiter};
use crate::worker::{self, Outcome, Worker};
use crate::{Chain, GuestMemory, QueueState};

const QUEUES: &[u16] = &[64];
/// The most that one request gets, in bytes; drivers ask again for more. It bounds the time that one request takes.
const MAX_BYTES: u64 = 64 << 10;

counters! {
    /// What an entropy device did since it was made.
    pub struct RngCounters {
        /// Requests that were done.
        pub entropy_event_count: Counter,
        /// Requests that could not be done.
        pub entropy_event_fails: Counter,
        /// Random bytes that the guest got.
        pub entropy_bytes: Counter,
        /// Requests that had to wait for the rate limit.
        pub entropy_rate_limiter_throttled: Counter,
        /// Events of the rate limit's timer.
        pub rate_limiter_event_count: Counter,
    }
}

/// An entropy device.
#[derive(Debug)]
pub struct Rng {
    worker: Worker,
    source: Source,
    poller: Poller,
}

/// The device without its queue.
#[derive(Debug)]
struct Source {
    scatter: Scatter,
    limiter: RateLimiter,
    /// Whether a request waits for the limiter.
    waits: bool,
    counters: Arc<RngCounters>,
}

impl Rng {
    /// An entropy device.
    ///
    /// # Errors
    /// If the kernel has no more descriptors.
    pub fn new(config: &RngConfig) -> io::Result<Self> {
        Self::with(RateLimiter::new(&config.rate)?)
    }

    /// An entropy device as it was saved.
    ///
    /// # Errors
    /// [`RngRestoreError`] if its limits can't be, or the kernel has no more descriptors.
    pub fn restore(state: &RngState) -> Result<Self, RngRestoreError> {
        Self::with(RateLimiter::restore(&state.rate)?).map_err(RngRestoreError::Events)
    }

    fn with(limiter: RateLimiter) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add_edge(limiter.fd())?;
        Ok(Self {
            worker: Worker::default(),
            source: Source {
                scatter: Scatter::default(),
                limiter,
                waits: false,
                counters: Arc::default(),
            },
            poller,
        })
    }

    /// What changes the rate limits, from any thread.
    #[must_use]
    pub fn rate_control(&self) -> RateControl {
        self.source.limiter.control()
    }

    /// What the device did.
    #[must_use]
    pub fn counters(&self) -> Arc<RngCounters> {
        self.source.counters.clone()
    }
}

impl Source {
    fn fill(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        let len = total_len(chain.writable()).min(MAX_BYTES);
        if !self.limiter.take(len, 1) {
            if !std::mem::replace(&mut self.waits, true) {
                self.counters.entropy_rate_limiter_throttled.count();
            }
            return Outcome::Later;
        }
        self.waits = false;
        let span = Span::all(memory, chain.writable()).part(0, len);
        match self.scatter.randomize(span) {
            Ok(count) => {
                self.counters.entropy_event_count.count();
                self.counters
                    .entropy_bytes
                    .add(u64::try_from(count).unwrap_or(0));
                Outcome::Used(worker::written(count))
            }
            Err(error) => {
                tracing::debug!(%error, "a request for random bytes failed");
                self.counters.entropy_event_fails.count();
                Outcome::Used(0)
            }
        }
    }
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> DeviceType {
        DeviceType::Rng
    }

    fn queue_sizes(&self) -> &[u16] {
        QUEUES
    }

    fn features(&self) -> u64 {
        0
    }

    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn start(&mut self, resources: Resources) -> Result<(), StartError> {
        self.worker.start(resources, QUEUES.len())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.stop()
    }

    fn notify(&mut self, queue: u16) -> Progress {
        let source = &mut self.source;
        self.worker
            .work(queue, |memory, chain| source.fill(memory, chain))
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.poller.fd())
    }

    /// The limit's timer went off: the queue is looked at again.
    fn poll(&mut self) -> Progress {
        self.source.counters.rate_limiter_event_count.count();
        self.poller.drain();
        self.notify(0)
    }

    fn metrics(&self) -> Arc<dyn Metrics> {
        self.source.counters.clone()
    }

    fn save(&self) -> DeviceState {
        DeviceState::Rng(RngState {
            rate: self.source.limiter.save(),
        })
    }
}
