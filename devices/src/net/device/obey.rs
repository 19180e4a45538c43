//! What the driver asks for on the control queue.

use std::os::fd::AsFd as _;

use virtio_bindings::bindings::virtio_net::{
    VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_RX,
    VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_GUEST_ANNOUNCE, VIRTIO_NET_F_MQ,
};

use super::Net;
use crate::device::Progress;
use crate::net::config::{GUEST_OFFLOADS, has};
use crate::net::control::{self, Command};
use crate::net::events::Event;
use crate::net::tap::Queue;

impl Net {
    pub(super) fn control_queue(&self) -> Option<u16> {
        let has = |bit| has(self.negotiated, bit);
        let pairs = if has(VIRTIO_NET_F_MQ) {
            u16::try_from(self.pairs.len()).unwrap_or(0)
        } else {
            1
        };
        has(VIRTIO_NET_F_CTRL_VQ).then_some(pairs * 2)
    }

    pub(super) fn obey_commands(&mut self, queue: u16) -> Progress {
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
    pub(super) fn set_active_pairs(&mut self, count: u16) -> bool {
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
    pub(super) fn set_offloads(&mut self, offloads: Option<u64>) -> bool {
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
}
