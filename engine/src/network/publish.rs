//! Ports of the host for an endpoint: which, and that nobody else gets them meanwhile.
//!
//! Packets are sent on by the kernel (DNAT, see [`super::rules`]), those from the host itself and its `127.0.0.1` among them, so
//! published ports work for as long as the endpoint lives, also while its owner is being replaced. A relay in user
//! space would reach `::1`, too, but ends with its process and hides who speaks. What keeps other programs from a port is a socket
//! that is bound to it and never listens.

mod parse;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};

pub use parse::InvalidPublication;

use super::{Error, HostPorts, Protocol, Publication, Published};

/// How often a port is looked for that is free with both families.
const ATTEMPTS: usize = 64;

/// Ports for an endpoint, and the sockets that hold them.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    pub(crate) ports: Vec<Published>,
    pub(crate) sockets: Vec<OwnedFd>,
}

/// What is known of an endpoint and of others when ports are looked for.
#[derive(Debug)]
pub(crate) struct Market<'a> {
    /// The kernel sends packets on, and not a program.
    pub(crate) by_kernel: bool,
    /// The endpoint's addresses.
    pub(crate) to: &'a [IpAddr],
    /// The ports of all endpoints that live.
    pub(crate) taken: &'a [Published],
}

impl Market<'_> {
    /// All of the ports, or none.
    pub(crate) fn reserve(&self, publications: &[Publication]) -> Result<Reservation, Error> {
        let mut all = Reservation::default();
        for publication in publications {
            let addresses = self.addresses(publication)?;
            for (host, guest) in pairs(publication)? {
                self.reserve_port(publication.protocol, &addresses, &host, guest, &mut all)?;
            }
        }
        Ok(all)
    }

    /// Holds ports again that an endpoint has; those that another program got meanwhile stay its own only by the rules.
    pub(crate) fn hold(ports: &[Published]) -> Vec<OwnedFd> {
        let hold = |port: &Published| {
            open(port.protocol, SocketAddr::new(port.address, port.host))
                .inspect_err(|error| tracing::warn!(?port, %error, "a published port is not held"))
                .ok()
        };
        ports.iter().filter_map(hold).collect()
    }

    /// The host's addresses, and where they lead.
    fn addresses(&self, publication: &Publication) -> Result<Vec<(IpAddr, IpAddr)>, Error> {
        let to = |is_v6: bool| self.to.iter().copied().find(|to| to.is_ipv6() == is_v6);
        let Some(address) = publication.address else {
            let all = [
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ];
            return Ok(all
                .into_iter()
                .filter_map(|all| Some((all, to(all.is_ipv6())?)))
                .collect());
        };
        if self.by_kernel && address == IpAddr::V6(Ipv6Addr::LOCALHOST) {
            return Err(Error::invalid(
                "ports cannot be published at ::1".to_owned(),
                "publish them at 127.0.0.1: Linux routes nothing from the loopback of IPv6",
            ));
        }
        match to(address.is_ipv6()) {
            Some(to) => Ok(vec![(address, to)]),
            None => Err(Error::invalid(
                format!(
                    "ports cannot be published at {address}: the endpoint has no address of that family"
                ),
                "publish them at an address of the other family, or give the network a subnet of this one",
            )),
        }
    }

    /// The first of the host's ports that is free at all of the addresses; port 0 is any.
    fn reserve_port(
        &self,
        protocol: Protocol,
        addresses: &[(IpAddr, IpAddr)],
        host: &RangeInclusive<u16>,
        guest: u16,
        all: &mut Reservation,
    ) -> Result<(), Error> {
        let attempts = if *host == (0..=0) { ATTEMPTS } else { 1 };
        let mut failure = None;
        for port in host
            .clone()
            .flat_map(|port| std::iter::repeat_n(port, attempts))
        {
            match self.try_port(protocol, addresses, port, guest, &all.ports) {
                Ok(reserved) => {
                    all.ports.extend(reserved.ports);
                    all.sockets.extend(reserved.sockets);
                    return Ok(());
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::invalid("no port was given".to_owned(), "give one")))
    }

    fn try_port(
        &self,
        protocol: Protocol,
        addresses: &[(IpAddr, IpAddr)],
        port: u16,
        guest: u16,
        own: &[Published],
    ) -> Result<Reservation, Error> {
        let mut reserved = Reservation::default();
        let mut host = port;
        for &(address, to) in addresses {
            let socket = bound(protocol, SocketAddr::new(address, host))?;
            let local = getsockname(&socket).and_then(SocketAddr::try_from);
            host = local.map_or(host, |local| local.port());
            let published = Published {
                protocol,
                address,
                host,
                to,
                guest,
            };
            let by = |who: &str| Error::PortTaken {
                address: SocketAddr::new(address, host),
                protocol,
                by: who.to_owned(),
            };
            if let Some(other) = self.taken.iter().find(|other| conflict(other, &published)) {
                return Err(by(&format!("the endpoint with address {}", other.to)));
            }
            if own.iter().any(|other| conflict(other, &published)) {
                return Err(by("another of the endpoint's ports"));
            }
            reserved.ports.push(published);
            reserved.sockets.push(socket);
        }
        Ok(reserved)
    }
}

/// Which of the host's ports (one of them) belong to which of the guest's.
fn pairs(publication: &Publication) -> Result<Vec<(RangeInclusive<u16>, u16)>, Error> {
    let guest = &publication.guest;
    let wrong = |what: String| {
        Err(Error::invalid(
            what,
            "give ports from 1 to 65535, ranges from low to high",
        ))
    };
    let is_range = |range: &RangeInclusive<u16>| *range.start() > 0 && !range.is_empty();
    if !is_range(guest) {
        return wrong(format!("{guest:?} are no ports of a guest"));
    }
    match &publication.host {
        HostPorts::Random => Ok(guest.clone().map(|port| (0..=0, port)).collect()),
        HostPorts::Exact(host) | HostPorts::FirstFree(host) if !is_range(host) => {
            wrong(format!("{host:?} are no ports of the host"))
        }
        HostPorts::Exact(host) if host.len() == guest.len() => {
            let host = host.clone().map(|port| port..=port);
            Ok(host.zip(guest.clone()).collect())
        }
        HostPorts::Exact(host) => Err(Error::invalid(
            format!("{host:?} and {guest:?} are not as many ports"),
            "give ranges of the same length",
        )),
        HostPorts::FirstFree(host) if guest.len() == 1 => Ok(vec![(host.clone(), *guest.start())]),
        HostPorts::FirstFree(_) => Err(Error::invalid(
            format!("one of several ports cannot be chosen for {guest:?}"),
            "give one port of the guest",
        )),
    }
}

/// Whether a packet could be for both.
fn conflict(a: &Published, b: &Published) -> bool {
    let same_family = a.address.is_ipv4() == b.address.is_ipv4();
    let is_any = a.address.is_unspecified() || b.address.is_unspecified();
    a.protocol == b.protocol
        && a.host == b.host
        && same_family
        && (is_any || a.address == b.address)
}

fn bound(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, Error> {
    open(protocol, address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::PortTaken {
            address,
            protocol,
            by: "another program".to_owned(),
        },
        _ => Error::Port {
            address,
            protocol,
            source,
        },
    })
}

fn open(protocol: Protocol, address: SocketAddr) -> io::Result<OwnedFd> {
    match open_with(protocol, address, false) {
        // Connections of a program that has ended may still linger there; they end nobody's right to listen.
        Err(rustix::io::Errno::ADDRINUSE) if protocol == Protocol::Tcp => {
            Ok(open_with(protocol, address, true)?)
        }
        other => Ok(other?),
    }
}

fn open_with(protocol: Protocol, address: SocketAddr, reuse: bool) -> rustix::io::Result<OwnedFd> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    sockopt::set_socket_reuseaddr(&socket, reuse)?;
    bind(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
