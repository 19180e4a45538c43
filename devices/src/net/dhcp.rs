//! The guest's address, told to it by DHCP (RFC 2131, RFC 2132): the interface itself answers, and nothing of it gets to the host.
//!
//! There is one client and one address, which is the client's for ever: so there is nothing to remember, to renew or to save.
//! Requests are hostile, as all frames are: what cannot be read is not answered.

use std::net::Ipv4Addr;

use super::MacAddress;
use super::frame::{ETHERNET, HEADER, IPV4, at};
use crate::iov::Span;

/// The server's Ethernet address: locally administered, and nobody else's on a link of two.
const MAC: [u8; 6] = [0x02, 0x48, 0x44, 0x48, 0x43, 0x50];
const UDP: u8 = 17;
const SERVER: u16 = 67;
const CLIENT: u16 = 68;
/// The longest request that is read; clients send less than 600 bytes.
const MAX_REQUEST: usize = 1514;
/// Bytes of a message before its options, with the cookie that these begin with.
const FIXED: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// BOOTP's messages have at least so many bytes, and some clients insist on it (RFC 1542, section 2.1).
const LEAST: usize = 300;

// Message types (RFC 2132, section 9.6).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const INFORM: u8 = 8;

/// What the guest is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits of the address that are its network's, up to 32.
    pub prefix_length: u8,
    /// Where its default route leads, if there is one.
    pub gateway: Option<Ipv4Addr>,
    /// Servers of names.
    pub dns: Vec<Ipv4Addr>,
}

/// The server of one interface.
#[derive(Debug)]
pub(super) struct Dhcp {
    lease: Lease,
    mtu: Option<u16>,
    /// The next frame for the guest, with virtio's header.
    next: Option<Vec<u8>>,
}

/// What a client asks.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    kind: u8,
    /// Its number, which is in the answer, too.
    id: [u8; 4],
    /// It cannot yet receive what is sent to its address.
    wants_broadcast: bool,
    /// The address that it has.
    own: Ipv4Addr,
    /// The address that it wants.
    wanted: Option<Ipv4Addr>,
    /// The server that it means.
    server: Option<Ipv4Addr>,
}

impl Dhcp {
    pub(super) fn new(lease: Lease, mtu: Option<u16>) -> Self {
        Self {
            lease,
            mtu,
            next: None,
        }
    }

    /// Whether the frame that begins so is for a server: UDP to port 67 over IPv4.
    pub(super) fn wants(&self, frame: &[u8]) -> bool {
        find_udp(frame).is_some_and(|udp| at(frame, udp + 2) == Some(SERVER.to_be_bytes()))
    }

    /// Takes a frame of `len` bytes out of the guest's memory, and answers it. The guest can have changed it since it was
    /// looked at: it is looked at again.
    pub(super) fn take(&mut self, frame: Span<'_>, len: usize, mac: MacAddress) {
        let mut bytes = vec![0; len.min(MAX_REQUEST)];
        let len = frame.copy_out(&mut bytes).unwrap_or(0);
        bytes.truncate(len);
        // A question that comes while an answer waits is asked again.
        if self.wants(&bytes) && self.next.is_none() {
            self.next = Question::parse(&bytes, mac).and_then(|asked| self.answer(&asked, mac));
        }
    }

    /// The next frame for the guest, with virtio's header.
    pub(super) fn front(&self) -> Option<&[u8]> {
        self.next.as_deref()
    }

    /// The guest has it.
    pub(super) fn sent(&mut self) {
        self.next = None;
    }

    /// The server's own address: the gateway's, so that clients who write to it later come here, too.
    fn own(&self) -> Ipv4Addr {
        let first = |net: u32| Ipv4Addr::from(net.saturating_add(1));
        let net = u32::from(self.lease.address) & u32::from(mask(self.lease.prefix_length));
        self.lease.gateway.unwrap_or_else(|| first(net))
    }

    fn answer(&self, asked: &Question, mac: MacAddress) -> Option<Vec<u8>> {
        let lease = &self.lease;
        if asked.server.is_some_and(|server| server != self.own()) {
            return None;
        }
        let wanted = asked.wanted.unwrap_or(asked.own);
        let kind = match asked.kind {
            DISCOVER => OFFER,
            REQUEST if wanted == lease.address => ACK,
            REQUEST => NAK,
            INFORM => ACK,
            _ => return None,
        };
        let mut message = vec![2, 1, 6, 0];
        message.extend(asked.id);
        // Whether it wants the answer by broadcast, and what it has, are said back to it.
        message.extend([0, 0, if asked.wants_broadcast { 0x80 } else { 0 }, 0]);
        let (own, given) = match (kind, asked.kind) {
            (NAK, _) => (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED),
            (_, INFORM) => (asked.own, Ipv4Addr::UNSPECIFIED),
            _ => (asked.own, lease.address),
        };
        message.extend(own.octets());
        message.extend(given.octets());
        message.extend([0; 8]);
        message.extend(mac.0);
        message.resize(FIXED - COOKIE.len(), 0);
        message.extend(COOKIE);
        option(&mut message, 53, &[kind]);
        option(&mut message, 54, &self.own().octets());
        if kind != NAK {
            if asked.kind != INFORM {
                // For ever (RFC 2131, section 3.3).
                option(&mut message, 51, &u32::MAX.to_be_bytes());
            }
            self.describe(&mut message);
        }
        message.push(255);
        message.resize(message.len().max(LEAST), 0);
        let broadcast = kind == NAK || asked.wants_broadcast && asked.own.is_unspecified();
        let to = match (broadcast, asked.own.is_unspecified()) {
            (true, _) => ([0xff; 6], Ipv4Addr::BROADCAST),
            (false, true) => (mac.0, lease.address),
            (false, false) => (mac.0, asked.own),
        };
        Some(packet(self.own(), to, &message))
    }

    /// The options about the network (RFC 2132, sections 3 and 5).
    fn describe(&self, message: &mut Vec<u8>) {
        let lease = &self.lease;
        option(message, 1, &mask(lease.prefix_length).octets());
        if let Some(gateway) = lease.gateway {
            option(message, 3, &gateway.octets());
        }
        let servers: Vec<u8> = lease.dns.iter().flat_map(Ipv4Addr::octets).collect();
        if !servers.is_empty() {
            option(message, 6, &servers);
        }
        if let Some(mtu) = self.mtu {
            option(message, 26, &mtu.to_be_bytes());
        }
    }
}

impl Question {
    /// Reads a client's message about its own Ethernet address.
    fn parse(frame: &[u8], mac: MacAddress) -> Option<Self> {
        let udp = find_udp(frame)?;
        let message = frame.get(udp + 8..)?;
        // A request, by Ethernet, that no relay sent on.
        let is_direct = at(message, 0)? == [1, 1, 6] && at(message, 24)? == [0; 4];
        let is_own = at(message, 28)? == mac.0 && at(frame, 6)? == mac.0;
        if !is_direct || !is_own || at(message, FIXED - COOKIE.len())? != COOKIE {
            return None;
        }
        let mut question = Self {
            kind: 0,
            id: at(message, 4)?,
            wants_broadcast: at::<1>(message, 10)?[0] & 0x80 != 0,
            own: at::<4>(message, 12)?.into(),
            wanted: None,
            server: None,
        };
        let mut options = message.get(FIXED..)?;
        while let Some((&kind, rest)) = options.split_first() {
            match kind {
                0 => options = rest,
                255 => break,
                _ => {
                    let [len] = at(rest, 0)?;
                    let value = rest.get(1..1 + usize::from(len))?;
                    question.note(kind, value)?;
                    options = rest.get(1 + usize::from(len)..)?;
                }
            }
        }
        Some(question)
    }

    fn note(&mut self, kind: u8, value: &[u8]) -> Option<()> {
        match kind {
            53 => [self.kind] = value.try_into().ok()?,
            50 => self.wanted = Some(<[u8; 4]>::try_from(value).ok()?.into()),
            54 => self.server = Some(<[u8; 4]>::try_from(value).ok()?.into()),
            _ => {}
        }
        Some(())
    }
}

/// Where the header of UDP is, in an IPv4 packet that is whole.
fn find_udp(frame: &[u8]) -> Option<usize> {
    let [first] = at(frame, ETHERNET)?;
    let [protocol] = at(frame, ETHERNET + 9)?;
    let fragment = u16::from_be_bytes(at(frame, ETHERNET + 6)?) & 0x3fff;
    let header = usize::from(first & 15) * 4;
    let is_udp = at(frame, 12)? == IPV4 && first >> 4 == 4 && header >= 20 && protocol == UDP;
    (is_udp && fragment == 0).then_some(ETHERNET + header)
}

fn mask(prefix_length: u8) -> Ipv4Addr {
    let shift = 32 - u32::from(prefix_length.min(32));
    u32::MAX.checked_shl(shift).unwrap_or(0).into()
}

/// Adds an option; one that is longer than an option can be is cut.
fn option(message: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let len = u8::try_from(value.len()).unwrap_or(u8::MAX);
    message.extend([kind, len]);
    message.extend(value.iter().take(len.into()));
}

/// A UDP packet from the server to a client, with Ethernet's and virtio's headers.
fn packet(from: Ipv4Addr, to: ([u8; 6], Ipv4Addr), message: &[u8]) -> Vec<u8> {
    let (mac, to) = to;
    let len = |more: usize| u16::try_from(message.len() + more).unwrap_or(u16::MAX);
    let mut udp = Vec::with_capacity(8 + message.len());
    for number in [SERVER, CLIENT, len(8), 0] {
        udp.extend(number.to_be_bytes());
    }
    udp.extend_from_slice(message);
    let pseudo = [0, UDP, len(8).to_be_bytes()[0], len(8).to_be_bytes()[1]];
    // All ones stand for a sum of zero, which would mean that there is none (RFC 768).
    let sum = checksum(&[&from.octets(), &to.octets(), &pseudo, &udp]);
    let sum = if sum == 0 { u16::MAX } else { sum };
    udp.splice(6..8, sum.to_be_bytes());

    let mut ip = vec![0x45, 0];
    ip.extend(len(28).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
    ip.extend(from.octets());
    ip.extend(to.octets());
    let sum = checksum(&[&ip]);
    ip.splice(10..12, sum.to_be_bytes());
    [&[0; HEADER][..], &mac, &MAC, &IPV4, &ip, &udp].concat()
}

/// The Internet checksum (RFC 1071) over pieces, all but the last of even length.
fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for piece in pieces {
        for pair in piece.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(pair.first().copied().unwrap_or(0)) << 8 | u32::from(low);
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
