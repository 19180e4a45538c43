//! The behaviour of virtio-net: pairs of queues, each with a descriptor, and a control queue.

mod create;
mod obey;
mod traffic;

use std::os::fd::RawFd;
use std::sync::Arc;

use virtio_bindings::bindings::virtio_net::{
    VIRTIO_NET_F_GUEST_ANNOUNCE, VIRTIO_NET_S_ANNOUNCE, VIRTIO_NET_S_LINK_UP,
};

use super::config::{self, MacAddress, has};
use super::counters::Counters;
use super::dhcp::Dhcp;
use super::events::{Event, EventQueue};
use super::filter::SourceFilter;
use super::mmds::Responder;
use super::port::Port;
use super::receive::Receiver;
use super::spill::Spill;
use super::state::NetState;
use super::transmit::Wait;
use crate::QueueState;
use crate::device::{
    DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice, read_space,
};
use crate::iov::Scatter;
use crate::metrics::Metrics;
use crate::rate::{RateControl, RateLimiter};
use crate::worker::Worker;
use traffic::either;

/// Frames that a TAP can hold by default, twice: what is thrown away at a reset.
const STALE_FRAMES: usize = 2000;

/// A network interface.
#[derive(Debug)]
pub struct Net {
    mac: MacAddress,
    mtu: Option<u16>,
    offered: u64,
    queue_sizes: Vec<u16>,
    worker: Worker,
    negotiated: u64,
    pairs: Vec<Pair>,
    events: EventQueue,
    settings: Settings,
    rx_limit: RateLimiter,
    tx_limit: RateLimiter,
    filter: Option<SourceFilter>,
    mmds: Option<Responder>,
    dhcp: Option<Dhcp>,
    counters: Arc<Counters>,
    scatter: Scatter,
    spill: Spill,
}

/// A receive queue, a transmit queue, and their descriptor.
#[derive(Debug)]
struct Pair {
    port: Port,
    attached: bool,
    receiver: Receiver,
    /// Why not all went out that could: frames of the transmit queue, or a part of one.
    wait: Option<Wait>,
}

/// What can change while the device runs.
#[derive(Clone, Copy, Debug)]
struct Settings {
    mac: MacAddress,
    link_up: bool,
    announce: bool,
    active_pairs: u16,
    offloads: Option<u64>,
    /// Nobody is at the other end any more.
    is_cut: bool,
}

impl Net {
    /// What it counts, readable at any time without any lock.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The means to change the limit for what comes to the guest, at any time without any lock.
    #[must_use]
    pub fn rx_limit(&self) -> RateControl {
        self.rx_limit.control()
    }

    /// The means to change the limit for what the guest sends, at any time without any lock.
    #[must_use]
    pub fn tx_limit(&self) -> RateControl {
        self.tx_limit.control()
    }

    /// Pulls the cable out, or puts it in. Without it, frames are dropped both ways, also those to the metadata service.
    pub fn set_link(&mut self, up: bool) {
        if self.settings.link_up != up {
            self.settings.link_up = up;
            self.worker.config_changed();
        }
    }

    /// Changes the addresses that the guest may use; without a filter, any.
    pub fn set_filter(&mut self, filter: Option<SourceFilter>) {
        self.filter = filter;
    }

    /// The address that the interface was given. Its guest may use another.
    #[must_use]
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// Whether the link is up.
    #[must_use]
    pub fn is_link_up(&self) -> bool {
        self.settings.link_up
    }

    /// Asks the guest to tell its neighbours where it is now: after a restore elsewhere (section 5.1.6.5.4). A guest that
    /// did not take VIRTIO_NET_F_GUEST_ANNOUNCE is not asked.
    pub fn announce(&mut self) {
        if has(self.negotiated, VIRTIO_NET_F_GUEST_ANNOUNCE) {
            self.settings.announce = true;
            self.worker.config_changed();
        }
    }

    fn is_active(&self, pair: usize) -> bool {
        pair < usize::from(self.settings.active_pairs)
    }

    fn status(&self) -> u16 {
        let bit = |is: bool, bit: u32| if is { bit } else { 0 };
        let is_up = self.settings.link_up && !self.settings.is_cut;
        let status =
            bit(is_up, VIRTIO_NET_S_LINK_UP) | bit(self.settings.announce, VIRTIO_NET_S_ANNOUNCE);
        u16::try_from(status).unwrap_or(0)
    }
}

impl VirtioDevice for Net {
    fn device_type(&self) -> DeviceType {
        DeviceType::Net
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn features(&self) -> u64 {
        self.offered
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let pairs = u16::try_from(self.pairs.len()).unwrap_or(0);
        let mtu = self.mtu.unwrap_or(0);
        let space = config::config_space(self.settings.mac, self.status(), pairs, mtu);
        read_space(&space, offset, data);
    }

    fn start(&mut self, resources: Resources) -> Result<(), StartError> {
        let features = resources.features;
        self.worker.start(resources, self.queue_sizes.len())?;
        self.negotiated = features;
        self.set_offloads(self.settings.offloads);
        self.set_active_pairs(self.settings.active_pairs);
        for pair in &mut self.pairs {
            // Frames and room may have come while nobody looked.
            pair.receiver.readable = true;
        }
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        if let Some(running) = self.worker.running() {
            for (pair, queue) in self.pairs.iter_mut().zip(running.queues.chunks_mut(2)) {
                if let Some(receive) = queue.first_mut() {
                    pair.receiver.give_back(receive);
                }
            }
        }
        self.worker.stop()
    }

    fn notify(&mut self, queue: u16) -> Progress {
        if self.control_queue() == Some(queue) {
            return self.obey_commands(queue);
        }
        let pair = usize::from(queue / 2);
        match queue % 2 {
            _ if !self.is_active(pair) => Progress::Done,
            0 => {
                self.counters.rx.announced();
                self.receive(pair)
            }
            _ => {
                self.counters.tx.announced();
                self.transmit(pair)
            }
        }
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.events.fd())
    }

    fn poll(&mut self) -> Progress {
        for event in self.events.take() {
            match event {
                Event::Tap(index) => {
                    if let Some(pair) = self.pairs.get_mut(index) {
                        pair.receiver.readable = true;
                    }
                }
                Event::Limit => {}
                Event::Mmds => {
                    if let Some(mmds) = &mut self.mmds {
                        mmds.poll();
                    }
                }
            }
        }
        let mut progress = self.answer();
        for index in 0..usize::from(self.settings.active_pairs) {
            let Some(pair) = self.pairs.get(index) else {
                break;
            };
            let (receives, transmits) = (pair.receiver.has_work(), pair.wait.is_some());
            if receives {
                progress = either(progress, self.receive(index));
            }
            if transmits {
                progress = either(progress, self.transmit(index));
            }
        }
        progress
    }

    fn reset(&mut self) {
        self.negotiated = 0;
        self.settings.mac = self.mac;
        self.settings.announce = false;
        self.set_active_pairs(1);
        self.set_offloads(None);
        for pair in &mut self.pairs {
            pair.receiver.reset();
            // A part of a frame that went is followed by the rest, whoever drives the device.
            pair.wait = pair.port.is_sending().then_some(Wait::Tap);
            // What is there was for the old driver, and may be in a form that the new one does not take.
            for _ in 0..STALE_FRAMES {
                if !matches!(pair.port.discard(&mut self.spill), Ok(true)) {
                    break;
                }
            }
        }
        if let Some(mmds) = &mut self.mmds {
            mmds.reset();
        }
        if let Some(dhcp) = &mut self.dhcp {
            dhcp.sent();
        }
    }

    fn metrics(&self) -> Arc<dyn Metrics> {
        self.counters.clone()
    }

    fn save(&self) -> DeviceState {
        DeviceState::Net(NetState {
            mac: self.settings.mac,
            mtu: self.mtu,
            link_up: self.settings.link_up,
            announce: self.settings.announce,
            pairs: u16::try_from(self.pairs.len()).unwrap_or(0),
            active_pairs: self.settings.active_pairs,
            offloads: self.settings.offloads,
            rx_rate: self.rx_limit.save(),
            tx_rate: self.tx_limit.save(),
        })
    }
}
