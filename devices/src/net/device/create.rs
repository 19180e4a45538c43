//! How an interface comes to be, made anew or as it was saved.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use super::{Net, Pair, Settings};
use crate::iov::Scatter;
use crate::net::config::{self, MAX_PAIRS, MIN_MTU, MacAddress, NetBackend, NetConfig};
use crate::net::dhcp::Dhcp;
use crate::net::events::{Event, EventQueue};
use crate::net::mmds::Responder;
use crate::net::port::Port;
use crate::net::receive::Receiver;
use crate::net::spill::Spill;
use crate::net::state::{NetError, NetState};
use crate::net::tap::{Queue, TapError};
use crate::rate::RateLimiter;
use crate::worker::Worker;

const QUEUE_SIZE: u16 = 256;
const CONTROL_SIZE: u16 = 64;

/// How much may come and go.
struct Limits {
    rx: RateLimiter,
    tx: RateLimiter,
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

    /// Puts all that is waited for into the set.
    fn watch(&mut self) -> io::Result<()> {
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
