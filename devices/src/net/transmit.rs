//! From the guest to the TAP, or whoever answers without one (virtio 1.2, section 5.1.6.2).

use std::io::ErrorKind;

use super::MacAddress;
use super::counters::Direction;
use super::dhcp::Dhcp;
use super::filter::SourceFilter;
use super::frame::{ETHERNET, HEAD, HEADER, MAX_FRAME, checksum};
use super::mmds::Responder;
use super::port::Port;
use crate::iov::{Scatter, Span};
use crate::queue::total_len;
use crate::rate::RateLimiter;
use crate::worker::Outcome;
use crate::{Chain, GuestMemory};

/// What a queue waits for while it has frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// For the limit's timer.
    Limit,
    /// For room in the TAP.
    Tap,
}

/// One turn of a transmit queue.
pub(super) struct Sender<'a> {
    pub(super) port: &'a mut Port,
    pub(super) limit: &'a mut RateLimiter,
    pub(super) counters: &'a Direction,
    pub(super) scatter: &'a mut Scatter,
    pub(super) link_up: bool,
    pub(super) filter: Option<&'a SourceFilter>,
    /// Answers the station that has this address.
    pub(super) dhcp: Option<(&'a mut Dhcp, MacAddress)>,
    pub(super) mmds: Option<&'a mut Responder>,
    /// Set if the turn ended before the queue did.
    pub(super) wait: Option<Wait>,
}

impl Sender<'_> {
    pub(super) fn serve(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        let request = Span::all(memory, chain.readable());
        let len = usize::try_from(total_len(chain.readable())).unwrap_or(usize::MAX);
        if !(HEADER + ETHERNET..=HEADER + MAX_FRAME).contains(&len) {
            self.counters.malformed();
            return Outcome::Used(0);
        }
        let frame_len = to_u64(len - HEADER);
        if !self.link_up {
            self.counters.drop();
            return Outcome::Used(0);
        }
        let sent = if self.looks_at_frames() {
            let mut head = [0; HEAD];
            // Read once: what is checked here is what goes out, whatever the guest does to its memory meanwhile.
            let copied = request.copy_out(&mut head).unwrap_or(0);
            let head = head.get(..copied).unwrap_or_default();
            if copied < HEADER + ETHERNET {
                self.counters.malformed();
                return Outcome::Used(0);
            }
            if self.keeps(request, len, head) {
                return Outcome::Used(0);
            }
            if !self.limit.admits(frame_len, 1) {
                return self.throttle();
            }
            let rest = request.part(to_u64(copied), to_u64(len - copied));
            self.port.send((head, HEADER), rest, len, self.scatter)
        } else {
            if !self.limit.admits(frame_len, 1) {
                return self.throttle();
            }
            self.port.forward(request, self.scatter)
        };
        match sent {
            Ok(()) => {
                self.limit.charge(frame_len, 1);
                self.counters.packet(frame_len);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.wait = Some(Wait::Tap);
                return Outcome::Later;
            }
            Err(error) => {
                // The guest's header makes no sense to the kernel, its buffers are no memory, or the TAP is gone.
                tracing::debug!(%error, "a frame did not go out");
                self.counters.error();
            }
        }
        Outcome::Used(0)
    }

    /// Whether frames must be known to send them; the others go from the guest to the TAP as they are.
    fn looks_at_frames(&self) -> bool {
        self.dhcp.is_some() || self.filter.is_some() || self.mmds.is_some() || self.port.is_stream()
    }

    /// Whether a frame goes nowhere: it is forged, or meant for who answers without the TAP.
    fn keeps(&mut self, request: Span<'_>, len: usize, head: &[u8]) -> bool {
        let (header, frame) = head.split_at(HEADER);
        let whole = request.part(to_u64(HEADER), to_u64(len - HEADER));
        // Before the filter: who asks for an address has none.
        if let Some((dhcp, mac)) = &mut self.dhcp
            && dhcp.wants(frame)
        {
            dhcp.take(whole, len - HEADER, *mac);
            return true;
        }
        if let Some(filter) = self.filter
            && !filter.allows(frame, checksum(header))
        {
            self.counters.spoofed();
            return true;
        }
        if let Some(mmds) = &mut self.mmds
            && mmds.wants(frame)
        {
            self.counters.mmds_packet();
            mmds.take(whole, len - HEADER);
            return true;
        }
        false
    }

    fn throttle(&mut self) -> Outcome {
        self.counters.throttled();
        self.wait = Some(Wait::Limit);
        Outcome::Later
    }
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
