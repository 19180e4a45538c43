//! The network on the host: bridges, TAPs, addresses, NAT, published ports, and who may send what.
//!
//! [`Networks`] is the door. A [`Network`] is a bridge with subnets; an [`Endpoint`] is one guest's TAP on it. Their state is
//! in a directory (`state`), the kernel's part of it is made by netlink (`netlink`, `bridge`, `tap`), by switches below
//! /proc/sys (`sysctl`) and by rules in tables of Hull's own (`rules`). Where there is no right to do any of this, `passt` is
//! a network in user space for one microVM.
//!
//! Everything here blocks, for milliseconds, and is of the network namespace of the thread that calls. Changes are made under one
//! lock, the state directory's. Whoever starts owners of endpoints calls [`Networks::recover`] first.
//!
//! A guest is held to its own addresses by rules at its port of the bridge, so that nothing needs to be believed about who sent a
//! packet after that.

mod address;
mod bridge;
mod conntrack;
mod default;
mod dns;
mod endpoint;
mod error;
mod id;
mod mac;
mod netlink;
#[allow(clippy::module_inception)]
mod network;
mod networks;
mod passt;
mod program;
mod publish;
mod rules;
mod spec;
mod state;
mod subnet;
mod sysctl;
mod tap;
#[cfg(test)]
mod tests;

pub use default::{DEFAULT_NETWORK, usual_network};
pub(crate) use dns::own_resolvers;
pub use dns::{host_resolvers, host_search};
pub use endpoint::Endpoint;
pub use error::Error;
pub(crate) use id::random_bytes;
pub use id::{EndpointId, NetworkId};
pub use ipnet::IpNet;
pub use mac::{InvalidMac, MacAddress};
pub use network::{Member, Network};
pub use networks::{Networks, Recovered};
pub use passt::{Passt, PasstSpec};
pub use publish::InvalidPublication;
pub use spec::{
    Addressing, DEFAULT_MTU, EndpointSpec, HostPorts, Link, MAX_MTU, MAX_QUEUES, NetworkSpec,
    Owner, Protocol, Publication, Published, Service, SubnetSpec, Tenant,
};
pub(crate) use state::{Directory as NetworkDirectory, EndpointRecord, NetworkRecord};
pub(crate) use tap::{loose as loose_tap, spare as spare_tap};
