//! The addresses that a guest may send from, so that it can't pose as another.
//!
//! Pure: called with the copied beginning of each frame before it goes out. What can't be told from that beginning
//! is not allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::config::MacAddress;
use super::frame::{ARP, Checksum, ETHERNET, IPV4, IPV6, at};

const IPV6_HEADER: usize = 40;
/// Extension headers that are followed; real frames have one or two.
const MAX_EXTENSIONS: usize = 8;
const ICMPV6: u8 = 58;

/// Whom the guest may pose as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFilter {
    /// The only Ethernet address that it may send from.
    pub mac: MacAddress,
    /// Its own IP addresses. If there are none, only Ethernet addresses are checked. If there are some, only IPv4, ARP and
    /// IPv6 pass, without VLAN tags, from these addresses; with an IPv6 address also from the link-local one that belongs to
    /// the Ethernet address. Router advertisements and redirects don't pass.
    pub addresses: Vec<IpAddr>,
}

impl SourceFilter {
    /// Whether a frame may go out. `frame` is its beginning, from the Ethernet header on; `checksum` what is yet to be
    /// written into it, for that must not change what was checked.
    #[must_use]
    pub fn allows(&self, frame: &[u8], checksum: Option<Checksum>) -> bool {
        self.check(frame, checksum).is_some()
    }

    fn check(&self, frame: &[u8], checksum: Option<Checksum>) -> Option<()> {
        let source: [u8; 6] = at(frame, 6)?;
        let kind: [u8; 2] = at(frame, 12)?;
        let mut behind = ETHERNET;
        yes(source == self.mac.0)?;
        if !self.addresses.is_empty() {
            behind = match kind {
                IPV4 => self.check_ipv4(frame)?,
                ARP => self.check_arp(frame)?,
                IPV6 => self.check_ipv6(frame, checksum)?,
                _ => return None,
            };
        }
        yes(checksum.is_none_or(|checksum| checksum.start >= behind))
    }

    /// Where what is in the packet begins.
    fn check_ipv4(&self, frame: &[u8]) -> Option<usize> {
        let [first] = at(frame, ETHERNET)?;
        let header = usize::from(first & 15) * 4;
        yes(first >> 4 == 4 && header >= 20)?;
        yes(self.owns_ipv4(at(frame, ETHERNET + 12)?))?;
        Some(ETHERNET + header)
    }

    fn check_arp(&self, frame: &[u8]) -> Option<usize> {
        // Ethernet and IPv4 addresses, 6 and 4 bytes long.
        yes(at(frame, ETHERNET)? == [0, 1, 8, 0, 6, 4])?;
        yes(at(frame, ETHERNET + 8)? == self.mac.0)?;
        let sender: [u8; 4] = at(frame, ETHERNET + 14)?;
        let target: [u8; 4] = at(frame, ETHERNET + 24)?;
        // A probe whether one's own address is taken has no sender (RFC 5227).
        let is_probe = sender == [0; 4] && self.owns_ipv4(target);
        yes(is_probe || self.owns_ipv4(sender))?;
        // No checksum has any business here.
        Some(usize::MAX)
    }

    fn check_ipv6(&self, frame: &[u8], checksum: Option<Checksum>) -> Option<usize> {
        let [first] = at(frame, ETHERNET)?;
        yes(first >> 4 == 6)?;
        let source: [u8; 16] = at(frame, ETHERNET + 8)?;
        let upper = Upper::find(frame)?;
        if upper.protocol == Some(ICMPV6) {
            self.check_icmpv6(frame, source, &upper, checksum)?;
        } else {
            yes(self.owns_ipv6(source))?;
        }
        Some(upper.at)
    }

    fn check_icmpv6(
        &self,
        frame: &[u8],
        source: [u8; 16],
        upper: &Upper,
        checksum: Option<Checksum>,
    ) -> Option<()> {
        let [kind] = at(frame, upper.at)?;
        let is_discovery = (133..=137).contains(&kind);
        if is_discovery {
            // Fragments of these are no longer believed (RFC 6980); the checksum is where ICMPv6 has it.
            yes(!upper.is_fragment)?;
            let place = Checksum {
                start: upper.at,
                offset: 2,
            };
            yes(checksum.is_none_or(|checksum| checksum == place))?;
        }
        let has_no_source = source == [0; 16];
        yes(has_no_source || self.owns_ipv6(source))?;
        let target = || at::<16>(frame, upper.at + 8);
        match kind {
            // Router solicitation.
            133 => {
                yes(!has_no_source)?;
                self.check_options(frame.get(upper.at + 8..upper.end)?)
            }
            // Neighbour solicitation. Without a source it asks whether one's own address is taken (RFC 4862).
            135 => {
                yes(!has_no_source || self.owns_ipv6(target()?))?;
                self.check_options(frame.get(upper.at + 24..upper.end)?)
            }
            // Neighbour advertisement.
            136 => {
                yes(!has_no_source && self.owns_ipv6(target()?))?;
                self.check_options(frame.get(upper.at + 24..upper.end)?)
            }
            // Router advertisement, redirect: no guest is a router.
            134 | 137 => None,
            // Reports of groups come before there is an address (RFC 3810, section 5.2.13).
            131 | 132 | 143 => Some(()),
            _ => yes(!has_no_source),
        }
    }

    /// Options of neighbour discovery name the guest's own Ethernet address, or none (RFC 4861, section 4.6).
    fn check_options(&self, mut options: &[u8]) -> Option<()> {
        while !options.is_empty() {
            let [kind, len] = at(options, 0)?;
            let len = usize::from(len) * 8;
            yes(len != 0)?;
            if kind == 1 || kind == 2 {
                yes(at(options, 2)? == self.mac.0)?;
            }
            options = options.get(len..)?;
        }
        Some(())
    }

    fn owns_ipv4(&self, address: [u8; 4]) -> bool {
        self.addresses.contains(&Ipv4Addr::from(address).into())
    }

    fn owns_ipv6(&self, address: [u8; 16]) -> bool {
        self.addresses.contains(&Ipv6Addr::from(address).into())
            || address == self.link_local() && self.addresses.iter().any(IpAddr::is_ipv6)
    }

    /// The address that belongs to the Ethernet address (RFC 4291, appendix A).
    fn link_local(&self) -> [u8; 16] {
        let [a, b, c, d, e, f] = self.mac.0;
        let mut address = [0; 16];
        address[..2].copy_from_slice(&[0xfe, 0x80]);
        address[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        address
    }
}

/// What is in an IPv6 packet, behind its extension headers.
struct Upper {
    /// None if this is not the first fragment.
    protocol: Option<u8>,
    at: usize,
    end: usize,
    is_fragment: bool,
}

impl Upper {
    fn find(frame: &[u8]) -> Option<Self> {
        let payload: usize = u16::from_be_bytes(at(frame, ETHERNET + 4)?).into();
        let [mut protocol] = at(frame, ETHERNET + 6)?;
        let mut upper = Self {
            protocol: None,
            at: ETHERNET + IPV6_HEADER,
            end: ETHERNET + IPV6_HEADER + payload,
            is_fragment: false,
        };
        for _ in 0..MAX_EXTENSIONS {
            let len = |unit: usize, more: usize| {
                let [_, len] = at(frame, upper.at)?;
                Some((usize::from(len) + more) * unit)
            };
            let skip = match protocol {
                // Hop by hop, routing, destination, mobility, HIP, shim6.
                0 | 43 | 60 | 135 | 139 | 140 => len(8, 1)?,
                // Authentication.
                51 => len(4, 2)?,
                44 => {
                    let offset = u16::from_be_bytes(at(frame, upper.at + 2)?) >> 3;
                    upper.is_fragment = true;
                    if offset != 0 {
                        upper.at += 8;
                        return Some(upper);
                    }
                    8
                }
                _ => {
                    upper.protocol = Some(protocol);
                    return Some(upper);
                }
            };
            [protocol] = at(frame, upper.at)?;
            upper.at += skip;
        }
        None
    }
}

fn yes(condition: bool) -> Option<()> {
    condition.then_some(())
}
