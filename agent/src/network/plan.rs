//! From the interfaces that there are to those that are wanted: which requests that takes. First all that goes, then names, then all
//! that comes, so that neither names, addresses nor routes are ever in each other's way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hull_agent_protocol::{Address, Failure, FailureKind, Interface};
use rustix::io::Errno;

use super::link::{
    IFA_ADDRESS, IFA_LOCAL, IFLA_ADDRESS, IFLA_AF_SPEC, IFLA_IFNAME, IFLA_MTU, Link, RTM_NEWLINK,
};
use super::netlink::{Batch, NLM_F_CREATE, NLM_F_REPLACE, nested};
use crate::failure::{Result, words};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFF_UP: u32 = 1;
/// The address may be used before anybody looked for duplicates.
const IFA_F_NODAD: u32 = 2;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

/// As many bytes as a name may have.
const MAX_NAME: usize = 15;

/// Refuses what makes no sense, whatever interfaces there are.
pub(super) fn check(wanted: &[Interface]) -> Result<()> {
    for (index, interface) in wanted.iter().enumerate() {
        let Interface { name, device, .. } = interface;
        let others = wanted.get(..index).unwrap_or_default();
        if others
            .iter()
            .any(|other| other.device == *device || other.name == *name)
        {
            return Err(invalid(format!(
                "network interface {name} (device {device}) is named twice"
            )));
        }
        let bad = |byte: u8| byte == b'/' || byte == b':' || byte <= b' ' || byte >= 0x7f;
        if name.is_empty()
            || name.len() > MAX_NAME
            || matches!(name.as_str(), "." | ".." | "lo")
            || name.bytes().any(bad)
        {
            return Err(invalid(format!(
                "{name:?} is no name for a network interface"
            )));
        }
        for Address { ip, prefix } in &interface.addresses {
            if *prefix > bits(*ip) {
                return Err(invalid(format!("{ip}/{prefix} is no address of {name}")));
            }
        }
    }
    let gateways = || wanted.iter().flat_map(|interface| &interface.gateways);
    if gateways().filter(|ip| ip.is_ipv4()).count() > 1
        || gateways().filter(|ip| ip.is_ipv6()).count() > 1
    {
        return Err(invalid(
            "there is more than one default gateway of a family".into(),
        ));
    }
    Ok(())
}

/// What to ask the kernel for. `devices` are the machine's, `present` all addresses, `before` what was asked for last.
pub(super) fn plan(
    devices: &[Link],
    present: &[(u32, Address)],
    before: &[Interface],
    wanted: &[Interface],
) -> Result<Batch> {
    let mut changes = Vec::new();
    for interface in wanted {
        let number = usize::try_from(interface.device).unwrap_or(usize::MAX);
        let Some(link) = devices.get(number) else {
            return Err(invalid(format!(
                "there is no network device {} for {}: the machine has {}",
                interface.device,
                interface.name,
                devices.len()
            )));
        };
        let before = before.iter().find(|one| one.device == interface.device);
        if before != Some(interface) {
            changes.push(Change {
                link,
                before: before.filter(|_| link.is_up()),
                interface,
                present: present
                    .iter()
                    .filter(|(index, _)| *index == link.index)
                    .map(|(_, address)| *address)
                    .collect(),
            });
        }
    }
    let mut batch = Batch::default();
    for link in devices.iter().filter(|link| link.is_up()) {
        let number = |index: u32| {
            usize::try_from(index)
                .ok()
                .and_then(|index| devices.get(index))
        };
        if !wanted.iter().any(|one| number(one.device) == Some(link)) {
            take_down(&mut batch, link);
            for (_, address) in present.iter().filter(|(index, _)| *index == link.index) {
                remove_address(&mut batch, link, *address);
            }
        }
    }
    for change in &changes {
        change.remove(&mut batch);
    }
    // Who has a name that another one is to get gives it up.
    for link in devices {
        let taker = changes
            .iter()
            .find(|change| change.interface.name == link.name);
        if taker.is_some_and(|change| change.link != link) {
            let spare = format!("spare{}", link.index);
            let attributes: [(u16, &[u8]); 1] = [(IFLA_IFNAME, &name(&spare))];
            set_link(&mut batch, link, Up::No, &attributes, || {
                format!("rename {}", link.name)
            });
        }
    }
    for change in &changes {
        change.add(&mut batch);
    }
    Ok(batch)
}

/// An interface that is to become another one.
struct Change<'a> {
    link: &'a Link,
    /// What it is, if it is in use.
    before: Option<&'a Interface>,
    interface: &'a Interface,
    present: Vec<Address>,
}

impl Change<'_> {
    /// It cannot be renamed while it is up, and loses its IPv6 addresses and its routes when it goes down.
    fn goes_down(&self) -> bool {
        self.link.is_up() && self.link.name != self.interface.name
    }

    /// All addresses that it is to have.
    fn addresses(&self) -> Vec<Address> {
        let mut all = self.interface.addresses.clone();
        if all.iter().any(|address| address.ip.is_ipv6()) {
            // The kernel would make it, and look for duplicates of it for a second.
            all.push(link_local(self.interface.mac));
        }
        all
    }

    fn remove(&self, batch: &mut Batch) {
        let wanted = self.addresses();
        if let Some(before) = self.before {
            for gateway in &before.gateways {
                if !self.interface.gateways.contains(gateway) {
                    route(batch, (RTM_DELROUTE, 0), self.link, *gateway, || {
                        format!("remove the gateway {gateway}")
                    });
                    batch.may_fail();
                }
            }
        }
        for address in self.present.iter().filter(|one| !wanted.contains(one)) {
            remove_address(batch, self.link, *address);
        }
        if self.goes_down() {
            take_down(batch, self.link);
        }
    }

    fn add(&self, batch: &mut Batch) {
        let Interface {
            name: wanted,
            mac,
            mtu,
            ..
        } = self.interface;
        let (text, mtu_bytes) = (name(wanted), mtu.to_ne_bytes());
        let no_own = nested(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        let families = nested(u16::from(AF_INET6), &no_own);
        let mut attributes: Vec<(u16, &[u8])> = vec![(IFLA_AF_SPEC, &families)];
        if self.link.name != *wanted {
            attributes.push((IFLA_IFNAME, &text));
        }
        if self.before.is_none_or(|before| before.mac != *mac) {
            attributes.push((IFLA_ADDRESS, mac));
        }
        if *mtu != 0 {
            attributes.push((IFLA_MTU, &mtu_bytes));
        }
        set_link(batch, self.link, Up::Yes, &attributes, || {
            format!("set up {wanted}")
        });
        for address in self.addresses() {
            let flushed = self.goes_down() && address.ip.is_ipv6();
            if flushed || !self.present.contains(&address) {
                add_address(batch, self.link, address, wanted);
            }
        }
        for gateway in &self.interface.gateways {
            let how = (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
            route(batch, how, self.link, *gateway, || {
                format!("set the default gateway {gateway} of {wanted}")
            });
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Up {
    Yes,
    No,
}

fn set_link(
    batch: &mut Batch,
    link: &Link,
    up: Up,
    attributes: &[(u16, &[u8])],
    what: impl FnOnce() -> String,
) {
    let flags = if up == Up::Yes { IFF_UP } else { 0 };
    let mut fixed = [0; 16];
    let parts = [link.index, flags, IFF_UP];
    for (place, part) in fixed.chunks_exact_mut(4).skip(1).zip(parts) {
        place.copy_from_slice(&part.to_ne_bytes());
    }
    batch.add((RTM_NEWLINK, 0), &fixed, attributes, what);
}

fn take_down(batch: &mut Batch, link: &Link) {
    set_link(batch, link, Up::No, &[], || {
        format!("take {} down", link.name)
    });
}

fn add_address(batch: &mut Batch, link: &Link, address: Address, name: &str) {
    let what = || format!("give {name} the address {}/{}", address.ip, address.prefix);
    let kind = (RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
    let fixed = ifaddrmsg(link, address);
    match address.ip {
        IpAddr::V4(ip) => {
            let local = ip.octets();
            let broadcast = broadcast(ip, address.prefix);
            let mut attributes: Vec<(u16, &[u8])> =
                vec![(IFA_LOCAL, &local), (IFA_ADDRESS, &local)];
            if address.prefix < 31 {
                attributes.push((IFA_BROADCAST, &broadcast));
            }
            batch.add(kind, &fixed, &attributes, what);
        }
        IpAddr::V6(ip) => {
            let flags = IFA_F_NODAD.to_ne_bytes();
            let attributes: [(u16, &[u8]); 2] = [(IFA_ADDRESS, &ip.octets()), (IFA_FLAGS, &flags)];
            batch.add(kind, &fixed, &attributes, what);
        }
    }
}

/// It may be gone already: with its interface, or because the container removed it.
fn remove_address(batch: &mut Batch, link: &Link, address: Address) {
    let (_, octets) = octets(address.ip);
    let attributes: [(u16, &[u8]); 2] = [(IFA_LOCAL, &octets), (IFA_ADDRESS, &octets)];
    batch.add(
        (RTM_DELADDR, 0),
        &ifaddrmsg(link, address),
        &attributes,
        || format!("remove the address {}", address.ip),
    );
    batch.may_fail();
}

fn ifaddrmsg(link: &Link, address: Address) -> [u8; 8] {
    let (family, _) = octets(address.ip);
    let [a, b, c, d] = link.index.to_ne_bytes();
    [family, address.prefix, 0, 0, a, b, c, d]
}

fn route(
    batch: &mut Batch,
    kind: (u16, u16),
    link: &Link,
    gateway: IpAddr,
    what: impl FnOnce() -> String,
) {
    let (family, gateway) = octets(gateway);
    let fixed = [
        family,
        0,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_BOOT,
        0,
        RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let index = link.index.to_ne_bytes();
    let attributes: [(u16, &[u8]); 2] = [(RTA_GATEWAY, &gateway), (RTA_OIF, &index)];
    batch.add(kind, &fixed, &attributes, what);
}

fn octets(ip: IpAddr) -> (u8, Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
    }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn broadcast(ip: Ipv4Addr, prefix: u8) -> [u8; 4] {
    let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
    (u32::from(ip) | host).to_be_bytes()
}

/// The address that belongs to a MAC address (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Address {
    let word = u16::from_be_bytes;
    let ip = Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        word([a ^ 2, b]),
        word([c, 0xff]),
        word([0xfe, d]),
        word([e, f]),
    );
    Address {
        ip: ip.into(),
        prefix: 64,
    }
}

/// A name as the kernel takes it.
fn name(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

pub(super) fn failure(what: &str, errno: Errno) -> Failure {
    Failure::new(
        FailureKind::System,
        format!("cannot {what}: {}", words(errno)),
    )
}

fn invalid(message: String) -> Failure {
    Failure::new(FailureKind::Invalid, message)
}

#[cfg(test)]
mod tests;
