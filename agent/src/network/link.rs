//! The interfaces that there are (rtnetlink(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hull_agent_protocol::{Address, InterfaceStats, Traffic};
use rustix::io::Errno;

use super::netlink::{Message, Socket, attributes};

pub(super) const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;

pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
const IFLA_STATS64: u16 = 23;
pub(super) const IFLA_AF_SPEC: u16 = 26;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_PARENT_DEV_NAME: u16 = 56;

pub(super) const IFA_ADDRESS: u16 = 1;
pub(super) const IFA_LOCAL: u16 = 2;

const RTEXT_FILTER_SKIP_STATS: u32 = 8;

const ARPHRD_ETHER: u16 = 1;
const IFF_UP: u32 = 1;

/// `struct ifinfomsg` and `struct ifaddrmsg`, as far as they matter here.
const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    flags: u32,
    /// The number of the virtio device that it is.
    virtio: Option<u32>,
    is_ethernet: bool,
    /// The first eight of `struct rtnl_link_stats64`.
    counters: [u64; 8],
}

/// Whether the kernel is to count together what went through an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistics {
    Ask,
    Skip,
}

impl Link {
    pub(super) fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    pub(super) fn statistics(&self) -> InterfaceStats {
        let [
            rx_packets,
            tx_packets,
            rx_bytes,
            tx_bytes,
            rx_errors,
            tx_errors,
            rx_dropped,
            tx_dropped,
        ] = self.counters;
        InterfaceStats {
            name: self.name.clone(),
            received: Traffic {
                bytes: rx_bytes,
                packets: rx_packets,
                errors: rx_errors,
                dropped: rx_dropped,
            },
            sent: Traffic {
                bytes: tx_bytes,
                packets: tx_packets,
                errors: tx_errors,
                dropped: tx_dropped,
            },
        }
    }

    fn parse(message: &Message<'_>) -> Option<Self> {
        let fixed = message.body.first_chunk::<IFINFOMSG>()?;
        let [_, _, kind_a, kind_b, a, b, c, d, flags @ ..] = *fixed;
        let mut link = Link {
            index: u32::from_ne_bytes([a, b, c, d]),
            flags: u32::from_ne_bytes(*flags.first_chunk()?),
            is_ethernet: u16::from_ne_bytes([kind_a, kind_b]) == ARPHRD_ETHER,
            ..Link::default()
        };
        for (kind, value) in attributes(message.body.get(IFINFOMSG..)?) {
            match kind {
                IFLA_IFNAME => link.name = text(value).to_owned(),
                IFLA_PARENT_DEV_NAME => {
                    let number = text(value).strip_prefix("virtio");
                    link.virtio = number.and_then(|number| number.parse().ok());
                }
                IFLA_STATS64 => {
                    let all = value.chunks_exact(8).map(|bytes| bytes.first_chunk());
                    for (counter, bytes) in link.counters.iter_mut().zip(all) {
                        *counter = u64::from_ne_bytes(*bytes?);
                    }
                }
                _ => {}
            }
        }
        Some(link)
    }
}

/// The network devices of the machine in their order. What the container has made itself is none of them.
pub(super) fn devices(socket: &Socket, statistics: Statistics) -> Result<Vec<Link>, Errno> {
    let mask = match statistics {
        Statistics::Ask => 0,
        Statistics::Skip => RTEXT_FILTER_SKIP_STATS,
    };
    let mut links = Vec::new();
    let mask = mask.to_ne_bytes();
    let attributes: [(u16, &[u8]); 1] = [(IFLA_EXT_MASK, &mask)];
    socket.dump(RTM_GETLINK, &[0; IFINFOMSG], &attributes, |message| {
        links.extend(Link::parse(message));
    })?;
    Ok(in_order(links))
}

/// A kernel that does not say what is a device of the bus (before Linux 5.14) lists what looks like one in the order of its discovery.
fn in_order(mut links: Vec<Link>) -> Vec<Link> {
    if links.iter().any(|link| link.virtio.is_some()) {
        links.retain(|link| link.virtio.is_some());
    } else {
        links.retain(|link| link.is_ethernet);
    }
    links.sort_by_key(|link| (link.virtio, link.index));
    links
}

/// All addresses, with the index of their interface.
pub(super) fn addresses(socket: &Socket) -> Result<Vec<(u32, Address)>, Errno> {
    let mut all = Vec::new();
    socket.dump(RTM_GETADDR, &[0; IFADDRMSG], &[], |message| {
        all.extend(address(message));
    })?;
    Ok(all)
}

fn address(message: &Message<'_>) -> Option<(u32, Address)> {
    let [_, prefix, _, _, index @ ..] = message.body.first_chunk::<IFADDRMSG>()?;
    let mut found = None;
    for (kind, value) in attributes(message.body.get(IFADDRMSG..)?) {
        // Of the two, the local one is the interface's own.
        if kind == IFA_LOCAL || kind == IFA_ADDRESS && found.is_none() {
            found = ip(value);
        }
    }
    let address = Address {
        ip: found?,
        prefix: *prefix,
    };
    Some((u32::from_ne_bytes(*index), address))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(|bytes| Ipv6Addr::from(bytes).into()))
        .ok()
}

/// A name, which ends with a zero byte.
fn text(value: &[u8]) -> &str {
    let end = value.iter().position(|byte| *byte == 0);
    let value = value.get(..end.unwrap_or(value.len()));
    std::str::from_utf8(value.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
impl Link {
    pub(super) fn example(index: u32, name: &str, up: bool) -> Self {
        Self {
            index,
            name: name.into(),
            flags: u32::from(up),
            is_ethernet: true,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_in_the_order_of_the_bus_and_nothing_else_is_one() {
        let link = |index, name: &str, virtio, is_ethernet| Link {
            index,
            name: name.into(),
            virtio,
            is_ethernet,
            ..Link::default()
        };
        let names = |links| {
            in_order(links)
                .into_iter()
                .map(|link| link.name)
                .collect::<Vec<_>>()
        };
        let all = vec![
            link(1, "lo", None, false),
            link(5, "own", None, true),
            link(2, "eth1", Some(10), true),
            link(3, "eth0", Some(9), true),
        ];
        assert_eq!(names(all.clone()), ["eth0", "eth1"]);
        let without = all.into_iter().map(|link| Link {
            virtio: None,
            ..link
        });
        assert_eq!(names(without.collect()), ["eth1", "eth0", "own"]);
    }
}
