//! The kernel's memory of connections (ctnetlink: linux/netfilter/nfnetlink_conntrack.h).
//!
//! What a client once sent to a published port goes on to the same guest for as long as it is remembered. So that the next guest
//! with the port, or with the address, gets it instead, an endpoint's connections are forgotten with it.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::{Protocol, Published};

const GET: u16 = 1;
const DELETE: u16 = 2;
const SUBSYSTEM: u16 = 1;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// In a tuple: its addresses; in those, where it goes.
const TUPLE_IP: u16 = 1;
const TO: [u16; 2] = [2, 4];
/// In a tuple: its protocol's; in that, its number, and the port where it goes.
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL: u16 = 1;
const TO_PORT: u16 = 3;
const UDP: u8 = 17;
/// Flags in an attribute's type.
const TYPE: u16 = 0x3fff;

const HEADER: usize = 16;
/// Of the family, after the header: `nfgenmsg`.
const FAMILY: usize = 4;
const ANSWER: usize = 64 << 10;
const DONE: u16 = 3;
const ERROR: u16 = 2;

/// Forgets all connections from and to these addresses.
pub(crate) fn forget(addresses: &[IpAddr]) -> io::Result<()> {
    for is_v6 in [false, true] {
        let own: Vec<Vec<u8>> = addresses
            .iter()
            .filter(|address| address.is_ipv6() == is_v6)
            .map(octets)
            .collect();
        if !own.is_empty() {
            forget_those(is_v6, |connection| whose(connection, &own))?;
        }
    }
    Ok(())
}

/// Forgets what goes to these ports and to the host itself. (It is about UDP: a connection of TCP that nobody accepted is over.)
pub(crate) fn forget_unpublished(ports: &[Published]) -> io::Result<()> {
    for is_v6 in [false, true] {
        let of_family = |port: &&Published| port.address.is_ipv6() == is_v6;
        let udp = ports
            .iter()
            .filter(|port| port.protocol == Protocol::Udp)
            .filter(of_family);
        let udp: Vec<&Published> = udp.collect();
        if udp.is_empty() {
            continue;
        }
        forget_those(is_v6, |connection| {
            let (address, port) = udp_to_host(connection)?;
            let is_at = |at: &&&Published| {
                at.host == port && (at.address.is_unspecified() || at.address == address)
            };
            udp.iter().find(is_at)?;
            // What only passes through is somebody else's: the host can have sockets at its own addresses alone.
            UdpSocket::bind((address, 0)).ok()?;
            Some(name(connection))
        })?;
    }
    Ok(())
}

/// Forgets the connections of a family that are named.
fn forget_those(is_v6: bool, named: impl Fn(&[u8]) -> Option<Vec<u8>>) -> io::Result<()> {
    let kind = SocketType::RAW;
    let protocol = Some(netlink::NETFILTER);
    let socket = socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, protocol)?;
    rustix::net::connect(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
    let family = match is_v6 {
        false => AddressFamily::INET,
        true => AddressFamily::INET6,
    };
    let mut found = Vec::new();
    exchange(&socket, GET, NLM_F_DUMP, family, &[], |connection| {
        found.extend(named(connection));
    })?;
    for connection in found {
        match exchange(&socket, DELETE, NLM_F_ACK, family, &connection, |_| ()) {
            // It ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The name of a connection, if one of the addresses is in it.
fn whose(connection: &[u8], own: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut is_own = false;
    for (kind, _, value) in Attributes(connection) {
        if [ORIGINAL, REPLY].contains(&kind) {
            let addresses = Attributes(value)
                .filter(|(kind, ..)| *kind == TUPLE_IP)
                .flat_map(|(_, _, value)| Attributes(value));
            for (_, _, address) in addresses {
                is_own |= own.iter().any(|own| own == address);
            }
        }
    }
    is_own.then(|| name(connection))
}

/// The attributes that name a connection.
fn name(connection: &[u8]) -> Vec<u8> {
    let mut name = Vec::new();
    for (kind, whole, _) in Attributes(connection) {
        if [ORIGINAL, ID, ZONE].contains(&kind) {
            name.extend_from_slice(whole);
            name.resize(name.len().next_multiple_of(4), 0);
        }
    }
    name
}

/// Where a connection of UDP goes.
fn udp_to_host(connection: &[u8]) -> Option<(IpAddr, u16)> {
    let (_, _, original) = Attributes(connection).find(|(kind, ..)| *kind == ORIGINAL)?;
    let inside = |wanted: u16| {
        let (_, _, value) = Attributes(original).find(|(kind, ..)| *kind == wanted)?;
        Some(Attributes(value))
    };
    let (_, _, to) = inside(TUPLE_IP)?.find(|(kind, ..)| TO.contains(kind))?;
    let v4 = <[u8; 4]>::try_from(to).map(IpAddr::from);
    let to = v4
        .or_else(|_| <[u8; 16]>::try_from(to).map(IpAddr::from))
        .ok()?;
    let protocol = |wanted: u16| {
        let (_, _, value) = inside(TUPLE_PROTOCOL)?.find(|(kind, ..)| *kind == wanted)?;
        Some(value)
    };
    let port = protocol(TO_PORT)?.try_into().map(u16::from_be_bytes).ok()?;
    (protocol(PROTOCOL)? == [UDP]).then_some((to, port))
}

/// The attributes of a message: type, all of it, value. It ends at the first that is not whole.
#[derive(Debug)]
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(number(self.0, 0)?);
        let kind = number(self.0, 2)? & TYPE;
        let whole = self.0.get(..length)?;
        let value = whole.get(4..)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, whole, value))
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// One request; `each` gets the attributes of each answer.
fn exchange(
    socket: &OwnedFd,
    what: u16,
    flags: u16,
    family: AddressFamily,
    attributes: &[u8],
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let length = u32::try_from(HEADER + FAMILY + attributes.len()).map_err(io::Error::other)?;
    let mut request = Vec::new();
    request.extend(length.to_ne_bytes());
    request.extend((SUBSYSTEM << 8 | what).to_ne_bytes());
    request.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    // Neither number nor port: there is one request at a time on this socket.
    request.extend([0; 8]);
    let family = u8::try_from(family.as_raw()).map_err(io::Error::other)?;
    request.extend([family, 0, 0, 0]);
    request.extend_from_slice(attributes);
    send(socket, &request, SendFlags::empty())?;

    let mut buffer = vec![0; ANSWER];
    loop {
        let (length, _) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some(length) = rest.get(..4) {
            let length = u32::from_ne_bytes(length.try_into().map_err(io::Error::other)?);
            let length = usize::try_from(length).map_err(io::Error::other)?;
            let (Some(message), Some(kind)) = (rest.get(..length.max(HEADER)), number(rest, 4))
            else {
                break;
            };
            rest = rest
                .get(length.max(HEADER).next_multiple_of(4)..)
                .unwrap_or_default();
            let content = message.get(HEADER..).unwrap_or_default();
            match kind {
                DONE => return Ok(()),
                ERROR => {
                    let code = content.get(..4).and_then(|code| code.try_into().ok());
                    return match code.map_or(0, i32::from_ne_bytes) {
                        0 => Ok(()),
                        code => Err(io::Error::from_raw_os_error(-code)),
                    };
                }
                _ => each(content.get(FAMILY..).unwrap_or_default()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_connection_is_told_by_its_addresses() {
        let attribute = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).unwrap();
            let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let nested = |kind: u16, value: &[u8]| attribute(kind | 0x8000, value);
        let tuple = |from: [u8; 4], to: [u8; 4]| {
            nested(TUPLE_IP, &[attribute(1, &from), attribute(2, &to)].concat())
        };
        let original = nested(ORIGINAL, &tuple([192, 0, 2, 1], [198, 51, 100, 1]));
        let reply = nested(REPLY, &tuple([10, 0, 0, 2], [192, 0, 2, 1]));
        let (id, status) = (attribute(ID, &[1, 2, 3, 4]), attribute(3, &[0; 4]));
        let connection = [&original[..], &reply, &status, &id].concat();
        let name = [&original[..], &id].concat();
        assert_eq!(whose(&connection, &[vec![10, 0, 0, 2]]), Some(name));
        assert_eq!(whose(&connection, &[vec![10, 0, 0, 3]]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = whose(&bytes, &[vec![10, 0, 0, 2]]);
            let _ = udp_to_host(&bytes);
        }
    }
}
