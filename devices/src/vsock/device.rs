//! The behaviour of virtio-vsock: three queues around a multiplexer.

use std::os::fd::RawFd;
use std::sync::Arc;

use super::config::{VsockBackend, VsockConfig};
use super::dial::Dialer;
use super::host::Host;
use super::mux::Mux;
use super::state::{VsockError, VsockState};
use crate::device::{
    DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice, read_space,
};
use crate::iov::Span;
use crate::metrics::Metrics;
use crate::worker::{Outcome, Worker};
use crate::{GuestMemory, QueueError, QueueState, Virtqueue};

/// To the guest.
const RECEIVE: u16 = 0;
/// From the guest.
const TRANSMIT: u16 = 1;
/// Device events.
const EVENT: u16 = 2;
const QUEUES: &[u16] = &[256, 256, 64];
/// VIRTIO_VSOCK_F_STREAM.
const STREAM: u64 = 1;
/// VIRTIO_VSOCK_EVENT_TRANSPORT_RESET: all connections are gone.
const TRANSPORT_RESET: u32 = 0;

/// A vsock device.
#[derive(Debug)]
pub struct Vsock {
    worker: Worker,
    mux: Mux,
    /// The guest must be told that its connections are gone.
    owes_reset: bool,
    /// It was, and has not offered more event buffers than these since; see [`Vsock::is_heard`].
    told: Option<u16>,
}

impl Vsock {
    /// A vsock device with no connections.
    ///
    /// # Errors
    /// [`VsockError`] if the CID is not one for guests, or the kernel has no more descriptors.
    pub fn new(config: VsockConfig, backend: VsockBackend) -> Result<Self, VsockError> {
        // 0 and 1 are no machines, 2 is the host, and 2^32 - 1 is any.
        if !(3..u64::from(u32::MAX)).contains(&config.guest_cid) {
            return Err(VsockError::Cid(config.guest_cid));
        }
        let host = Host::new(backend).map_err(VsockError::Epoll)?;
        Ok(Self {
            worker: Worker::default(),
            mux: Mux::new(config.guest_cid, host),
            owes_reset: false,
            told: None,
        })
    }

    /// A vsock device as it was saved. The guest will be told that its connections are gone.
    ///
    /// # Errors
    /// As [`Vsock::new`].
    pub fn restore(state: &VsockState, backend: VsockBackend) -> Result<Self, VsockError> {
        let config = VsockConfig {
            guest_cid: state.guest_cid,
        };
        Ok(Self {
            owes_reset: true,
            ..Self::new(config, backend)?
        })
    }

    /// Connects to the guest for the VMM itself. Take it before the device goes behind its transport.
    #[must_use]
    pub fn dialer(&self) -> Dialer {
        self.mux.host.dialer.clone()
    }

    /// Moves packets in both directions while there are any, for a bounded time.
    fn turn(&mut self) -> Progress {
        let announced = self.announce();
        let transmitted = self.transmit();
        let received = if self.mux.has_packets() && self.is_heard() {
            let mux = &mut self.mux;
            self.worker
                .work(RECEIVE, |memory, chain| mux.give(memory, chain))
        } else {
            Progress::Done
        };
        // Packets of the guest that waited for refusals to go out.
        let waited = self.transmit();
        let accepted = self.mux.host.accept_waiting();
        let all = [announced, transmitted, received, waited, accepted];
        if all.contains(&Progress::More) {
            Progress::More
        } else {
            Progress::Done
        }
    }

    fn transmit(&mut self) -> Progress {
        if !self.mux.may_take() {
            return Progress::Done;
        }
        let mux = &mut self.mux;
        self.worker
            .work(TRANSMIT, |memory, chain| mux.take(memory, chain))
    }

    fn announce(&mut self) -> Progress {
        if !self.owes_reset {
            return Progress::Done;
        }
        // Before it is told: the driver may answer at once.
        let offered = self.look_at_events(|queue, memory| queue.offered(memory));
        let owes = &mut self.owes_reset;
        let progress = self.worker.work(EVENT, |memory, chain| {
            if !*owes {
                return Outcome::Later;
            }
            let event = TRANSPORT_RESET.to_le_bytes();
            let buffer = Span::all(memory, chain.writable());
            match buffer.copy_in(&event) {
                Ok(count) if count == event.len() => {
                    *owes = false;
                    Outcome::Used(4)
                }
                _ => Outcome::Used(0),
            }
        });
        if !self.owes_reset && self.look_at_events(Virtqueue::listen_behind).is_some() {
            self.told = offered;
        }
        progress
    }

    /// Whether packets may come: not between the news that all connections are gone and the driver's taking note of it, which it shows by
    /// offering a buffer in place of the one with the news. Linux would take a connection that it hears of first for an old one.
    fn is_heard(&mut self) -> bool {
        let Some(offered) = self.told else {
            return true;
        };
        match self.look_at_events(|queue, memory| queue.offered(memory)) {
            Some(now) if now != offered => {
                self.told = None;
                true
            }
            _ => false,
        }
    }

    /// What the event queue says; nothing if the device is stopped or lost.
    fn look_at_events(
        &mut self,
        look: impl FnOnce(&mut Virtqueue, &GuestMemory) -> Result<u16, QueueError>,
    ) -> Option<u16> {
        let running = self.worker.running()?;
        let queue = running.queues.get_mut(usize::from(EVENT))?;
        match look(queue, running.memory) {
            Ok(offered) => Some(offered),
            Err(error) => {
                let _ = running.give_up(EVENT, &error);
                None
            }
        }
    }
}

impl VirtioDevice for Vsock {
    fn device_type(&self) -> DeviceType {
        DeviceType::Vsock
    }

    fn queue_sizes(&self) -> &[u16] {
        QUEUES
    }

    fn features(&self) -> u64 {
        STREAM
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_space(&self.mux.guest_cid().to_le_bytes(), offset, data);
    }

    fn start(&mut self, resources: Resources) -> Result<(), StartError> {
        self.worker.start(resources, QUEUES.len())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.stop()
    }

    fn notify(&mut self, queue: u16) -> Progress {
        match queue {
            RECEIVE => self.mux.counters.rx_queue_event_count.count(),
            TRANSMIT => self.mux.counters.tx_queue_event_count.count(),
            _ => {}
        }
        self.turn()
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.mux.host.poll_fd())
    }

    fn poll(&mut self) -> Progress {
        let has_driver = self.worker.running().is_some();
        self.mux.take_events(has_driver);
        self.turn()
    }

    fn reset(&mut self) {
        self.mux.reset();
        self.owes_reset = false;
        self.told = None;
    }

    fn metrics(&self) -> Arc<dyn Metrics> {
        self.mux.counters.clone()
    }

    fn save(&self) -> DeviceState {
        DeviceState::Vsock(VsockState {
            guest_cid: self.mux.guest_cid(),
        })
    }
}
