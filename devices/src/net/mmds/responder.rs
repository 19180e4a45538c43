//! Frames to and from the metadata service: what a network interface uses.
//!
//! Ethernet is so little here that it is done by hand: ARP for one address is answered, and packets go back to
//! where the last one came from. TCP/IP begins to exist with the first packet, so a guest that never asks costs nothing.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::rand::GetRandomFlags;

use super::stack::Stack;
use super::store::Mmds;
use crate::iov::Span;
use crate::net::frame::{ARP, ETHERNET, HEADER, IPV4, MAX_FRAME, at};
use crate::timer::{Timer, now};

/// The service's Ethernet address: locally administered, and nobody else's on a link of two.
const MAC: [u8; 6] = [0x02, 0x4d, 0x4d, 0x44, 0x53, 0xfe];
const ARP_LEN: usize = ETHERNET + 28;

/// The metadata service at one interface.
pub(in crate::net) struct Responder {
    mmds: Mmds,
    address: Ipv4Addr,
    stack: Option<Box<Stack>>,
    timer: Timer,
    /// Where the last frame came from.
    peer: [u8; 6],
    /// The next frame for the guest, with virtio's header, which is all zeros.
    next: Option<Vec<u8>>,
}

impl Responder {
    pub(in crate::net) fn new(mmds: Mmds) -> io::Result<Self> {
        Ok(Self {
            address: mmds.config().ipv4_address,
            mmds,
            stack: None,
            timer: Timer::new()?,
            peer: [0xff; 6],
            next: None,
        })
    }

    /// Wait for it edge-triggered, then call [`Responder::poll`].
    pub(in crate::net) fn timer(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// Whether the frame that begins so is for the service: IPv4 to its address, or ARP for it.
    pub(in crate::net) fn wants(&self, frame: &[u8]) -> bool {
        let target = match at(frame, 12) {
            Some(IPV4) => at::<4>(frame, ETHERNET + 16),
            Some(ARP) => at::<4>(frame, ETHERNET + 24),
            _ => None,
        };
        target == Some(self.address.octets())
    }

    /// Takes a frame of `len` bytes out of the guest's memory, and answers it. The guest can have changed it since it was
    /// looked at: it is looked at again.
    pub(in crate::net) fn take(&mut self, frame: Span<'_>, len: usize) {
        self.mmds.count().rx_accepted.count();
        let mut bytes = vec![0; len.min(MAX_FRAME)];
        let len = frame.copy_out(&mut bytes).unwrap_or(0);
        bytes.truncate(len);
        self.take_frame(bytes);
    }

    /// Does what time has come for.
    pub(in crate::net) fn poll(&mut self) {
        let now = now();
        if let Some(stack) = &mut self.stack {
            stack.poll(&self.mmds, now);
        }
        self.arrange(now);
    }

    /// The next frame for the guest, with virtio's header.
    pub(in crate::net) fn front(&self) -> Option<&[u8]> {
        self.next.as_deref()
    }

    /// The guest has it.
    pub(in crate::net) fn sent(&mut self) {
        if let Some(frame) = self.next.take() {
            let bytes = frame.len().saturating_sub(HEADER);
            let counters = self.mmds.count();
            counters.tx_frames.count();
            counters.tx_bytes.add(u64::try_from(bytes).unwrap_or(0));
        }
        let now = now();
        if let Some(stack) = &mut self.stack
            && stack.front().is_none()
        {
            // It may have held back for want of room.
            stack.poll(&self.mmds, now);
        }
        self.arrange(now);
    }

    /// Forgets all connections.
    pub(in crate::net) fn reset(&mut self) {
        self.stack = None;
        self.next = None;
        self.timer.set(Duration::ZERO);
    }

    /// Answers a frame.
    fn take_frame(&mut self, mut frame: Vec<u8>) {
        if !self.wants(&frame) {
            return;
        }
        self.peer = at(&frame, 6).unwrap_or(self.peer);
        if at(&frame, 12) == Some(ARP) {
            // A question that comes while an answer waits is asked again.
            if self.next.is_none() {
                self.next = self.answer_arp(&frame);
            }
            return;
        }
        let now = now();
        if self.stack.is_none() {
            self.stack = seed().map(|seed| Box::new(Stack::new(self.address, seed, now)));
        }
        if let Some(stack) = &mut self.stack {
            frame.drain(..ETHERNET);
            stack.take(frame, &self.mmds, now);
        }
        self.arrange(now);
    }

    /// Takes the next packet out of the stack, and sets the timer.
    fn arrange(&mut self, now: Duration) {
        let Some(stack) = &mut self.stack else {
            return;
        };
        if self.next.is_none()
            && let Some(packet) = stack.front()
        {
            let mut frame = vec![0; HEADER];
            frame.extend(ethernet(self.peer, IPV4));
            frame.extend_from_slice(packet);
            stack.sent();
            self.next = Some(frame);
        }
        let next = stack.next(now);
        self.timer.set(next.unwrap_or(Duration::ZERO));
    }

    /// The answer to a request for the service's Ethernet address (RFC 826).
    fn answer_arp(&self, frame: &[u8]) -> Option<Vec<u8>> {
        const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
        const REPLY: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 2];
        if at(frame, ETHERNET)? != REQUEST {
            return None;
        }
        let asker: [u8; 10] = at(frame, ETHERNET + 8)?;
        let mut reply = Vec::with_capacity(HEADER + ARP_LEN);
        reply.extend([0; HEADER]);
        reply.extend(ethernet(self.peer, ARP));
        reply.extend(REPLY);
        reply.extend(MAC);
        reply.extend(self.address.octets());
        reply.extend(asker);
        Some(reply)
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("mmds", &self.mmds)
            .finish_non_exhaustive()
    }
}

fn ethernet(target: [u8; 6], kind: [u8; 2]) -> [u8; ETHERNET] {
    let mut header = [0; ETHERNET];
    header[..6].copy_from_slice(&target);
    header[6..12].copy_from_slice(&MAC);
    header[12..].copy_from_slice(&kind);
    header
}

/// What sequence numbers begin with.
fn seed() -> Option<u64> {
    let mut seed = [0; 8];
    let count = rustix::rand::getrandom(&mut seed, GetRandomFlags::empty()).ok()?;
    (count == seed.len()).then(|| u64::from_ne_bytes(seed))
}
