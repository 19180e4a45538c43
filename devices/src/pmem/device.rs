//! The behaviour of virtio-pmem.

use std::os::fd::RawFd;
use std::sync::Arc;

use super::config::{self, PmemConfig};
use super::mapping::Mapping;
use super::state::{PmemError, PmemRestoreError, PmemState};
use crate::device::{DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice};
use crate::iov::Span;
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

/// What the device did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PmemCounters {
    /// Flushes that were done.
    pub flushes: u64,
    /// Flushes that had to wait for the rate limit.
    pub throttled: u64,
    /// Requests that failed, or could not be understood.
    pub failures: u64,
}

/// Persistent memory.
#[derive(Debug)]
pub struct Pmem {
    config: PmemConfig,
    worker: Worker,
    flusher: Flusher,
    poller: Poller,
}

/// The device without its queue.
#[derive(Debug)]
struct Flusher {
    mapping: Arc<Mapping>,
    limiter: RateLimiter,
    /// Whether a request waits for the limiter.
    waits: bool,
    counters: PmemCounters,
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
                counters: PmemCounters::default(),
            },
            poller,
        })
    }

    /// What changes the rate limits, from any thread.
    #[must_use]
    pub fn rate_control(&self) -> RateControl {
        self.flusher.limiter.control()
    }

    /// What the device did.
    #[must_use]
    pub fn counters(&self) -> PmemCounters {
        self.flusher.counters
    }
}

impl Flusher {
    fn serve(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        if !self.limiter.take(0, 1) {
            self.counters.throttled += u64::from(!std::mem::replace(&mut self.waits, true));
            return Outcome::Later;
        }
        self.waits = false;
        let result = self.flush(memory, chain);
        if result == DONE {
            self.counters.flushes += 1;
        } else {
            self.counters.failures += 1;
        }
        let answer = Span::all(memory, chain.writable()).copy_in(&result.to_le_bytes());
        // A flush takes its time: others have their turn.
        Outcome::Enough(answer.map_or(0, worker::written))
    }

    fn flush(&self, memory: &GuestMemory, chain: &Chain) -> u32 {
        let mut kind = [0; 4];
        let read = Span::all(memory, chain.readable()).copy_out(&mut kind);
        if read != Ok(kind.len()) || u32::from_le_bytes(kind) != FLUSH {
            tracing::debug!("a request for persistent memory can't be understood");
            return FAILED;
        }
        match self.mapping.sync() {
            Ok(()) => DONE,
            Err(error) => {
                tracing::warn!(%error, "persistent memory can't be flushed");
                FAILED
            }
        }
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
        self.worker.start(resources, QUEUES.len())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.stop()
    }

    fn notify(&mut self, queue: u16) -> Progress {
        let flusher = &mut self.flusher;
        self.worker
            .work(queue, |memory, chain| flusher.serve(memory, chain))
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.poller.fd())
    }

    /// The limit's timer went off: the queue is looked at again.
    fn poll(&mut self) -> Progress {
        self.poller.drain();
        self.notify(0)
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
