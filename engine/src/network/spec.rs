//! What a caller may say about networks, endpoints and ports.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{EndpointId, MacAddress};

/// The most queues, and so descriptors, of one TAP: what the VMM's interfaces take.
pub const MAX_QUEUES: u16 = 16;
/// The largest MTU that a TAP can have, in bytes: Linux wants room for an Ethernet header in 65535.
pub const MAX_MTU: u16 = 65521;
/// The MTU of networks for which none was asked, in bytes.
pub const DEFAULT_MTU: u16 = 1500;

/// A network to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Up to 64 letters, digits and `_.-`, the first a letter or digit.
    pub name: String,
    /// Its IPv4 addresses.
    pub ipv4: Addressing,
    /// Its IPv6 addresses.
    pub ipv6: Addressing,
    /// The MTU of its bridge and of its guests, in bytes: 576 (IPv4) or 1280 (IPv6) to [`MAX_MTU`].
    pub mtu: u16,
    /// Nothing goes out of it or comes in but to and from its gateway: no NAT, no published ports.
    pub internal: bool,
    /// Whether its guests may talk to one another.
    pub inter_container: bool,
    /// Whether what goes out of it gets the host's address. Without it, the network outside must know the way back.
    pub masquerade: bool,
    /// What its guests may reach at the gateway, besides ping: such as UDP 53 for names.
    pub services: Vec<Service>,
    /// Whether to turn the host's forwarding on where it is off. Without it, that is an error that says how.
    pub enable_forwarding: bool,
    /// What it is called beside its name: nobody but its maker knows what it means.
    pub labels: BTreeMap<String, String>,
    /// What was said for its driver, to be shown again. It has its effect in the other fields.
    pub options: BTreeMap<String, String>,
    /// Names of addresses among the reserved ones, to be shown again.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

impl NetworkSpec {
    /// A network with IPv4 addresses of Hull's choice, NAT, and guests that talk to one another.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ipv4: Addressing::Auto,
            ipv6: Addressing::Off,
            mtu: DEFAULT_MTU,
            internal: false,
            inter_container: true,
            masquerade: true,
            services: Vec::new(),
            enable_forwarding: true,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            auxiliary: BTreeMap::new(),
        }
    }
}

/// Where a network's addresses of one family come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// It has none.
    #[default]
    Off,
    /// A subnet that nobody uses: a /20 of 10.200.0.0/13, or a random unique local /64 (RFC 4193).
    Auto,
    /// This subnet.
    Subnet(SubnetSpec),
}

/// One subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetSpec {
    /// Its addresses: at most /30 (IPv4) or /126 (IPv6).
    pub net: IpNet,
    /// The host's own address in it; the first one without it.
    pub gateway: Option<IpAddr>,
    /// The part of it from which endpoints get addresses that they did not ask for.
    pub range: Option<IpNet>,
    /// Addresses that no endpoint gets.
    pub reserved: Vec<IpAddr>,
}

impl SubnetSpec {
    /// All of a subnet.
    pub fn new(net: impl Into<IpNet>) -> Self {
        Self {
            net: net.into(),
            gateway: None,
            range: None,
            reserved: Vec::new(),
        }
    }
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Something that listens at the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port.
    pub port: u16,
}

impl Service {
    /// Names, for which some clients ask again by TCP (RFC 1035, section 4.2).
    pub const NAMES: [Self; 2] = [
        Self {
            protocol: Protocol::Udp,
            port: 53,
        },
        Self {
            protocol: Protocol::Tcp,
            port: 53,
        },
    ];
}

/// A container at an endpoint, as the servers of names know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its identifier.
    pub id: String,
    /// What it is called in this network, without domain.
    pub names: Vec<String>,
    /// Whom it asks for other names; nobody in particular where empty.
    pub servers: Vec<IpAddr>,
    /// Names of its own for other containers.
    #[serde(default)]
    pub links: Vec<Link>,
}

/// A name that one container has for another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The other one's name or identifier.
    pub container: String,
    /// What this one calls it.
    pub alias: String,
}

/// An endpoint to be attached: one interface of one guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// The guest's MAC address; a random one without it.
    pub mac: Option<MacAddress>,
    /// Addresses that it must have, at most one of a family; others are chosen.
    pub addresses: Vec<IpAddr>,
    /// Queue pairs of the TAP, from 1 to [`MAX_QUEUES`]: one descriptor each.
    pub queues: u16,
    /// Who may open the TAP by its name: user and group of the host. The descriptors need neither.
    pub owner: Owner,
    /// Ports of the host to publish from the beginning.
    pub publish: Vec<Publication>,
    /// The container, if it is one's.
    pub container: Option<Tenant>,
    /// A TAP that is there already, in no network: that of the endpoint which this will be. One is made otherwise.
    pub spare: Option<EndpointId>,
}

impl Default for EndpointSpec {
    fn default() -> Self {
        Self {
            mac: None,
            addresses: Vec::new(),
            queues: 1,
            owner: Owner::default(),
            publish: Vec::new(),
            container: None,
            spare: None,
        }
    }
}

/// Whose a TAP is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// A user's number.
    pub uid: Option<u32>,
    /// A group's number.
    pub gid: Option<u32>,
}

/// Ports of the host whose traffic is the guest's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address. Without it: all of the families that the endpoint has, `127.0.0.1` among them. (`::1` is not:
    /// Linux routes nothing from its loopback to elsewhere with IPv6, so a connection to it is refused at once.)
    pub address: Option<IpAddr>,
    /// Which ports of the host.
    pub host: HostPorts,
    /// The guest's, as many as the host's, or one that one of the host's is chosen for.
    pub guest: RangeInclusive<u16>,
}

/// Which ports of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostPorts {
    /// Free ones of the kernel's choice, one for each of the guest's.
    Random,
    /// These, in order.
    Exact(RangeInclusive<u16>),
    /// For the guest's only port, the first of these that is free.
    FirstFree(RangeInclusive<u16>),
}

/// One published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address, unspecified for all of one family.
    pub address: IpAddr,
    /// The host's port.
    pub host: u16,
    /// The guest's address.
    pub to: IpAddr,
    /// The guest's port.
    pub guest: u16,
}
