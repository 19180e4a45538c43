//! Frames to the guest and from it, a turn at a time.

use std::os::fd::AsFd as _;

use virtio_bindings::bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;

use super::Net;
use crate::device::Progress;
use crate::net::config::has;
use crate::net::dhcp::Dhcp;
use crate::net::events::Event;
use crate::net::mmds::Responder;
use crate::net::receive::Source;
use crate::net::transmit::{Sender, Wait};

impl Net {
    pub(super) fn receive(&mut self, index: usize) -> Progress {
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

    pub(super) fn transmit(&mut self, index: usize) -> Progress {
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
    pub(super) fn answer(&mut self) -> Progress {
        let says = |mmds: &Responder| mmds.front().is_some();
        let tells = |dhcp: &Dhcp| dhcp.front().is_some();
        if self.mmds.as_ref().is_some_and(says) || self.dhcp.as_ref().is_some_and(tells) {
            return self.receive(0);
        }
        Progress::Done
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
}

/// The queue of a pair: 0 to the guest, 1 from it.
fn queue_number(pair: usize, way: u16) -> u16 {
    u16::try_from(pair * 2).unwrap_or(u16::MAX - 1) + way
}

pub(super) fn either(a: Progress, b: Progress) -> Progress {
    if a == Progress::More { a } else { b }
}
