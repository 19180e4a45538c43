//! The behaviour of virtio-rng.

use crate::device::{DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice};
use crate::iov::{Scatter, Span};
use crate::queue::total_len;
use crate::worker::{self, Outcome, Worker};
use crate::{Chain, GuestMemory, QueueState};

use super::state::{RngRestoreError, RngState};

const QUEUES: &[u16] = &[64];
/// The most that one request gets, in bytes; drivers ask again for more. It bounds the time that one request takes.
const MAX_BYTES: u64 = 64 << 10;

/// An entropy device.
#[derive(Debug, Default)]
pub struct Rng {
    worker: Worker,
    scatter: Scatter,
}

impl Rng {
    /// An entropy device; it needs nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An entropy device as it was saved.
    ///
    /// # Errors
    /// None today.
    pub fn restore(_state: &RngState) -> Result<Self, RngRestoreError> {
        Ok(Self::new())
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
        let scatter = &mut self.scatter;
        self.worker
            .work(queue, |memory, chain| fill(scatter, memory, chain))
    }

    fn save(&self) -> DeviceState {
        DeviceState::Rng(RngState {})
    }
}

fn fill(scatter: &mut Scatter, memory: &GuestMemory, chain: &Chain) -> Outcome {
    let len = total_len(chain.writable()).min(MAX_BYTES);
    match scatter.randomize(Span::all(memory, chain.writable()).part(0, len)) {
        Ok(count) => Outcome::Used(worker::written(count)),
        Err(error) => {
            tracing::debug!(%error, "a request for random bytes failed");
            Outcome::Used(0)
        }
    }
}
