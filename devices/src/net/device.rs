//! The behaviour of virtio-net: pairs of queues, each with a descriptor, and a control queue.

use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;

use virtio_bindings::bindings::virtio_net::{
    VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_RX,
    VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_GUEST_ANNOUNCE, VIRTIO_NET_F_MQ, VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_S_ANNOUNCE, VIRTIO_NET_S_LINK_UP,
};

use super::config::{
    self, GUEST_OFFLOADS, MAX_PAIRS, MIN_MTU, MacAddress, NetBackend, NetConfig, has,
};
use super::control::{self, Command};
use super::counters::Counters;
use super::dhcp::Dhcp;
use super::events::{Event, EventQueue};
use super::filter::SourceFilter;
use super::mmds::Responder;
use super::port::Port;
use super::receive::{Receiver, Source};
use super::spill::Spill;
use super::state::{NetError, NetState};
use super::tap::{Queue, TapError};
use super::transmit::{Sender, Wait};
use crate::QueueState;
use crate::device::{
    DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice, read_space,
};
use crate::iov::Scatter;
use crate::metrics::Metrics;
use crate::rate::{RateControl, RateLimiter};
use crate::worker::Worker;

const QUEUE_SIZE: u16 = 256;
const CONTROL_SIZE: u16 = 64;
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
    /// A network interface whose link is up.
    ///
    /// # Errors
    /// [`NetError`] if the configuration can't be, a TAP is none, or the kernel has no more descriptors.
    pub fn new(config: &NetConfig, backend: NetBackend) -> Result<Self, NetError> {
        let limits = Limits {
            rx: RateLimiter::new(&config.rx_rate).map_err(NetError::Events)?,
            tx: RateLimiter::new(&config.tx_rate).map_err(NetError::Events)?,
        };
        Self::with(config.mac, config.mtu, limits, backend)
    }

    /// A network interface as it was saved, on other descriptors.
    ///
    /// # Errors
    /// As [`Net::new`], and if there is another number of descriptors or a saved limit can't be.
    pub fn restore(state: &NetState, backend: NetBackend) -> Result<Self, NetError> {
        let given = backend.ports.len();
        if usize::from(state.pairs) != given {
            return Err(NetError::OtherPairs {
                saved: state.pairs,
                given,
            });
        }
        if state.active_pairs == 0 || state.active_pairs > state.pairs {
            return Err(NetError::Active {
                active: state.active_pairs,
                pairs: state.pairs,
            });
        }
        let limits = Limits {
            rx: RateLimiter::restore(&state.rx_rate)?,
            tx: RateLimiter::restore(&state.tx_rate)?,
        };
        let mut net = Self::with(state.mac, state.mtu, limits, backend)?;
        net.settings = Settings {
            mac: state.mac,
            link_up: state.link_up,
            announce: state.announce,
            active_pairs: state.active_pairs,
            offloads: state.offloads,
            is_cut: false,
        };
        Ok(net)
    }

    fn with(
        mac: MacAddress,
        mtu: Option<u16>,
        limits: Limits,
        backend: NetBackend,
    ) -> Result<Self, NetError> {
        let ports = backend.ports;
        let count = ports.len();
        let Some(first) = ports.first().filter(|_| count <= MAX_PAIRS) else {
            return Err(NetError::Pairs(count));
        };
        if count > 1 && ports.iter().any(Port::is_stream) {
            return Err(NetError::StreamPairs(count));
        }
        if count > 1 && !ports.iter().all(Port::is_multi_queue) {
            return Err(TapError::SingleQueue.into());
        }
        if let Some(mtu) = mtu.filter(|mtu| *mtu < MIN_MTU) {
            return Err(NetError::Mtu(mtu));
        }
        if !mac.is_station() {
            return Err(NetError::Mac(mac));
        }
        let offered = config::features(mtu.is_some(), &ports);
        first.set_offloads(0)?;
        let mut queue_sizes = vec![QUEUE_SIZE; count * 2];
        queue_sizes.push(CONTROL_SIZE);
        let mmds = match backend.mmds {
            Some(mmds) => Some(Responder::new(mmds).map_err(NetError::Events)?),
            None => None,
        };
        let mut net = Self {
            mac,
            mtu,
            offered,
            queue_sizes,
            worker: Worker::default(),
            negotiated: 0,
            pairs: ports.into_iter().map(Pair::new).collect(),
            events: EventQueue::new().map_err(NetError::Events)?,
            settings: Settings {
                mac,
                link_up: true,
                announce: false,
                active_pairs: 1,
                offloads: None,
                is_cut: false,
            },
            rx_limit: limits.rx,
            tx_limit: limits.tx,
            filter: backend.filter,
            mmds,
            dhcp: backend.lease.map(|lease| Dhcp::new(lease, mtu)),
            counters: Arc::default(),
            scatter: Scatter::default(),
            spill: Spill::new().map_err(NetError::Memory)?,
        };
        net.watch().map_err(NetError::Events)?;
        Ok(net)
    }

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

    /// Puts all that is waited for into the set.
    fn watch(&mut self) -> std::io::Result<()> {
        self.events.add(self.rx_limit.fd(), Event::Limit)?;
        self.events.add(self.tx_limit.fd(), Event::Limit)?;
        if let Some(mmds) = &self.mmds {
            self.events.add(mmds.timer(), Event::Mmds)?;
        }
        for (index, pair) in self.pairs.iter_mut().enumerate() {
            // All but the first stay detached until the driver asks for them.
            pair.attached = index == 0;
            if pair.attached {
                self.events.add(pair.port.as_fd(), Event::Tap(index))?;
            } else if let Err(error) = pair.port.set_queue(Queue::Detached) {
                tracing::warn!(%error, "a queue of a TAP can't be detached");
            }
        }
        Ok(())
    }

    fn control_queue(&self) -> Option<u16> {
        let has = |bit| has(self.negotiated, bit);
        let pairs = if has(VIRTIO_NET_F_MQ) {
            u16::try_from(self.pairs.len()).unwrap_or(0)
        } else {
            1
        };
        has(VIRTIO_NET_F_CTRL_VQ).then_some(pairs * 2)
    }

    fn is_active(&self, pair: usize) -> bool {
        pair < usize::from(self.settings.active_pairs)
    }

    fn receive(&mut self, index: usize) -> Progress {
        let (Some(mut running), Some(pair)) = (self.worker.running(), self.pairs.get_mut(index))
        else {
            return Progress::Done;
        };
        let mut source = Source {
            limit: &mut self.rx_limit,
            counters: &self.counters.rx,
            scatter: &mut self.scatter,
            spill: &mut self.spill,
            link_up: self.settings.link_up,
            mergeable: has(self.negotiated, VIRTIO_NET_F_MRG_RXBUF),
            // Answers come through the first queue, which every driver has.
            mmds: self.mmds.as_mut().filter(|_| index == 0),
            dhcp: self.dhcp.as_mut().filter(|_| index == 0),
        };
        let queue = queue_number(index, 0);
        let port = &mut pair.port;
        let progress = pair.receiver.turn(&mut running, queue, port, &mut source);
        self.notice_end(index);
        progress
    }

    /// Pulls the cable out if nobody is at its other end any more.
    fn notice_end(&mut self, index: usize) {
        let is_over = self
            .pairs
            .get(index)
            .is_some_and(|pair| pair.port.is_over());
        if is_over && !self.settings.is_cut {
            tracing::warn!("whoever was at the other end of a network interface is gone");
            self.settings.is_cut = true;
            self.worker.config_changed();
        }
    }

    fn transmit(&mut self, index: usize) -> Progress {
        let Some(pair) = self.pairs.get_mut(index) else {
            return Progress::Done;
        };
        pair.port.flush();
        let mut sender = Sender {
            port: &mut pair.port,
            limit: &mut self.tx_limit,
            counters: &self.counters.tx,
            scatter: &mut self.scatter,
            link_up: self.settings.link_up,
            filter: self.filter.as_ref(),
            dhcp: self.dhcp.as_mut().map(|dhcp| (dhcp, self.settings.mac)),
            mmds: self.mmds.as_mut(),
            wait: None,
        };
        let progress = self.worker.work(queue_number(index, 1), |memory, chain| {
            sender.serve(memory, chain)
        });
        pair.wait = sender.wait;
        if pair.port.is_sending() {
            pair.wait = Some(Wait::Tap);
        }
        if pair.wait == Some(Wait::Tap)
            && let Err(error) = self.events.ask_again(pair.port.as_fd(), Event::Tap(index))
        {
            tracing::warn!(%error, "a full TAP can't be waited for");
        }
        self.notice_end(index);
        let answered = self.answer();
        either(progress, answered)
    }

    /// Hands what the metadata service and DHCP have to say to the guest.
    fn answer(&mut self) -> Progress {
        let says = |mmds: &Responder| mmds.front().is_some();
        let tells = |dhcp: &Dhcp| dhcp.front().is_some();
        if self.mmds.as_ref().is_some_and(says) || self.dhcp.as_ref().is_some_and(tells) {
            return self.receive(0);
        }
        Progress::Done
    }

    fn obey_commands(&mut self, queue: u16) -> Progress {
        let mut worker = std::mem::take(&mut self.worker);
        let progress = worker.work(queue, |memory, chain| {
            control::serve(memory, chain, |command| self.obey(command))
        });
        self.worker = worker;
        progress
    }

    /// Does what the driver asks for, if it may; whether it is done.
    fn obey(&mut self, command: Command) -> bool {
        let took = |bit| has(self.negotiated, bit);
        match command {
            // All frames that come are handed over, whatever is wanted: filtering is best-effort (section 5.1.6.5.2).
            Command::ReceiveMode | Command::ReceiveTable => took(VIRTIO_NET_F_CTRL_RX),
            Command::SetMac(mac) => {
                let may = self.filter.as_ref().is_none_or(|filter| filter.mac == mac);
                let done = took(VIRTIO_NET_F_CTRL_MAC_ADDR) && may;
                if done {
                    self.settings.mac = mac;
                }
                done
            }
            Command::AckAnnounce => {
                self.settings.announce = false;
                took(VIRTIO_NET_F_GUEST_ANNOUNCE)
            }
            Command::SetPairs(count) => {
                let may = (1..=self.pairs.len()).contains(&usize::from(count));
                took(VIRTIO_NET_F_MQ) && may && self.set_active_pairs(count)
            }
            Command::SetOffloads(offloads) => {
                let negotiated = self.negotiated & GUEST_OFFLOADS;
                took(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)
                    && offloads & !negotiated == 0
                    && self.set_offloads(Some(offloads))
            }
        }
    }

    /// Takes part in the TAP's traffic with so many queues; whether all went well.
    fn set_active_pairs(&mut self, count: u16) -> bool {
        let mut good = true;
        for (index, pair) in self.pairs.iter_mut().enumerate().skip(1) {
            let wanted = index < usize::from(count);
            if wanted == pair.attached {
                continue;
            }
            let done = if wanted {
                let port = &pair.port;
                let watch = || self.events.add(port.as_fd(), Event::Tap(index));
                let attached = port.set_queue(Queue::Attached).map_err(|e| e.to_string());
                attached.and_then(|()| watch().map_err(|e| e.to_string()))
            } else {
                // A descriptor without an interface would always be ready, with an error.
                let removed = self.events.remove(&pair.port).map_err(|e| e.to_string());
                let detached = pair.port.set_queue(Queue::Detached);
                removed.and(detached.map_err(|e| e.to_string()))
            };
            pair.attached = wanted;
            if let Err(error) = done {
                tracing::warn!(error, "a TAP does not take another number of queues");
                good = false;
            }
        }
        self.settings.active_pairs = count;
        good
    }

    /// Tells the TAP what the guest takes unfinished; whether it listened. None is what the driver negotiated.
    fn set_offloads(&mut self, offloads: Option<u64>) -> bool {
        self.settings.offloads = offloads;
        let offloads = offloads.unwrap_or(self.negotiated) & GUEST_OFFLOADS;
        let Some(Err(error)) = self
            .pairs
            .first()
            .map(|pair| pair.port.set_offloads(offloads))
        else {
            return true;
        };
        // It may be gone; the guest then is without a network, and nothing worse.
        tracing::warn!(%error, "a TAP does not take the guest's offloads");
        false
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

struct Limits {
    rx: RateLimiter,
    tx: RateLimiter,
}

impl Pair {
    fn new(port: Port) -> Self {
        Self {
            port,
            attached: false,
            receiver: Receiver::default(),
            wait: None,
        }
    }
}

/// The queue of a pair: 0 to the guest, 1 from it.
fn queue_number(pair: usize, way: u16) -> u16 {
    u16::try_from(pair * 2).unwrap_or(u16::MAX - 1) + way
}

fn either(a: Progress, b: Progress) -> Progress {
    if a == Progress::More { a } else { b }
}
