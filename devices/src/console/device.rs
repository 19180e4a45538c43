//! The behaviour of virtio-console.

use std::io::ErrorKind;
use std::os::fd::RawFd;
use std::sync::Arc;

use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;

use super::config::{ConsoleBackend, ConsoleSize, SIZE};
use super::counters::ConsoleCounters;
use super::state::{ConsoleError, ConsoleState};
use super::streams::{Moved, Streams};
use crate::device::{DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice};
use crate::iov::Span;
use crate::metrics::Metrics;
use crate::queue::total_len;
use crate::worker::{self, Outcome, Worker};
use crate::{Chain, GuestMemory, QueueState};

const _: () = assert!(VIRTIO_ID_CONSOLE == DeviceType::Console as u32);

/// To the guest.
const RECEIVE: u16 = 0;
/// From the guest.
const TRANSMIT: u16 = 1;
const QUEUES: &[u16] = &[64, 64];
/// VIRTIO_CONSOLE_F_EMERG_WRITE: a byte can be written without a queue (section 5.3.3).
const EMERG_WRITE: u64 = 1 << 2;
/// Where that byte goes in the configuration space.
const EMERG_WRITE_AT: u64 = 8;
/// Bytes that go out in one turn.
const TURN: u64 = 256 << 10;

/// A console with one port. What its reader does not take stays in the guest's queue.
#[derive(Debug)]
pub struct Console {
    worker: Worker,
    streams: Streams,
    /// Bytes of the first request in the transmit queue that are already written.
    sent: u64,
    size: ConsoleSize,
    counters: Arc<ConsoleCounters>,
}

impl Console {
    /// A console on the given descriptors.
    ///
    /// # Errors
    /// [`ConsoleError`] if the kernel has no more descriptors.
    pub fn new(backend: ConsoleBackend) -> Result<Self, ConsoleError> {
        Self::restore(&ConsoleState::default(), backend)
    }

    /// A console as it was saved, on new descriptors.
    ///
    /// # Errors
    /// [`ConsoleError`] if the kernel has no more descriptors.
    pub fn restore(state: &ConsoleState, backend: ConsoleBackend) -> Result<Self, ConsoleError> {
        Ok(Self {
            worker: Worker::default(),
            streams: Streams::new(backend).map_err(ConsoleError::Epoll)?,
            sent: state.sent.into(),
            size: state.size,
            counters: Arc::default(),
        })
    }

    /// Tells the guest how large the terminal is, now or when it begins.
    pub fn set_size(&mut self, size: ConsoleSize) {
        if self.size != size {
            self.size = size;
            self.worker.config_changed();
        }
    }

    fn transmit(&mut self) -> Progress {
        let mut sender = Sender {
            streams: &mut self.streams,
            sent: &mut self.sent,
            turn: TURN,
            counters: &self.counters,
        };
        self.worker
            .work(TRANSMIT, |memory, chain| sender.send(memory, chain))
    }

    fn receive(&mut self) -> Progress {
        let (streams, counters) = (&mut self.streams, &self.counters);
        self.worker.work(RECEIVE, |memory, chain| {
            if total_len(chain.writable()) == 0 {
                return Outcome::Used(0);
            }
            match streams.read(Span::all(memory, chain.writable())) {
                Ok(Moved::Bytes(count)) => {
                    counters.rx_bytes_count.add(count);
                    Outcome::Used(u32::try_from(count).unwrap_or(0))
                }
                Ok(Moved::NotNow | Moved::Ended) => Outcome::Later,
                Err(error) if error.kind() == ErrorKind::InvalidInput => Outcome::Used(0),
                Err(error) => {
                    tracing::warn!(%error, "a console's input ends");
                    counters.rx_fails.count();
                    Outcome::Later
                }
            }
        })
    }
}

/// What takes requests in one turn.
struct Sender<'a> {
    streams: &'a mut Streams,
    sent: &'a mut u64,
    /// Bytes that may still go out.
    turn: u64,
    counters: &'a ConsoleCounters,
}

impl Sender<'_> {
    /// Writes a request's rest.
    fn send(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        let total = total_len(chain.readable());
        while *self.sent < total {
            if self.turn == 0 {
                return Outcome::Again;
            }
            let rest = Span::all(memory, chain.readable()).part(*self.sent, total - *self.sent);
            match self.streams.write(rest) {
                Ok(Moved::Bytes(count)) => {
                    self.counters.tx_bytes_count.add(count);
                    *self.sent += count;
                    self.turn = self.turn.saturating_sub(count);
                }
                Ok(Moved::NotNow) => return Outcome::Later,
                Ok(Moved::Ended) => {
                    self.counters.tx_fails.count();
                    break;
                }
                Err(error) => {
                    // Nobody reads any more, or the guest named memory that it does not have. It must go on either way.
                    tracing::debug!(%error, "a console's output is lost");
                    self.counters.tx_fails.count();
                    break;
                }
            }
        }
        *self.sent = 0;
        Outcome::Used(worker::written(0))
    }
}

impl VirtioDevice for Console {
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn queue_sizes(&self) -> &[u16] {
        QUEUES
    }

    fn features(&self) -> u64 {
        SIZE | EMERG_WRITE
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        crate::device::read_space(&self.size.space(), offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let (EMERG_WRITE_AT, Some(byte)) = (offset, data.first()) {
            self.streams.write_byte(*byte);
        }
    }

    fn start(&mut self, resources: Resources) -> Result<(), StartError> {
        self.worker.start(resources, QUEUES.len())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.stop()
    }

    fn notify(&mut self, queue: u16) -> Progress {
        match queue {
            RECEIVE => self.receive(),
            TRANSMIT => self.transmit(),
            _ => Progress::Done,
        }
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.streams.poll_fd())
    }

    fn poll(&mut self) -> Progress {
        self.streams.drain_events();
        match (self.receive(), self.transmit()) {
            (Progress::Done, Progress::Done) => Progress::Done,
            _ => Progress::More,
        }
    }

    fn reset(&mut self) {
        self.sent = 0;
    }

    fn metrics(&self) -> Arc<dyn Metrics> {
        self.counters.clone()
    }

    fn save(&self) -> DeviceState {
        DeviceState::Console(ConsoleState {
            sent: u32::try_from(self.sent).unwrap_or(u32::MAX),
            size: self.size,
        })
    }
}
