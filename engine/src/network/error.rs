//! Everything that can go wrong with networks, each with what to do about it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use thiserror::Error;

use super::{MacAddress, NetworkId, Protocol};

/// What is said where the right to administer the network is missing.
const PRIVILEGE: &str = "it takes the right to administer the host's network (CAP_NET_ADMIN): run as root, \
     or use user-mode networking, which needs no right";

/// An operation on a network failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The name cannot be one.
    #[error(
        "{0:?} cannot be a network's name: give up to 64 letters, digits and \"_.-\", the first a letter or digit"
    )]
    Name(String),
    /// Another network has the name.
    #[error("network with name {name} already exists: choose another name, or remove network {by}")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        by: NetworkId,
    },
    /// No network has this name or identifier.
    #[error("network {0} not found")]
    NotFound(String),
    /// Several identifiers begin so.
    #[error("network {0} is ambiguous: give more digits of its identifier")]
    Ambiguous(String),
    /// A network with endpoints is not removed.
    #[error(
        "error while removing network: network {name} has active endpoints ({endpoints}): disconnect them first"
    )]
    InUse {
        /// The network.
        name: String,
        /// How many live.
        endpoints: usize,
    },
    /// The specification contradicts itself or exceeds what there can be.
    #[error("{what}: {advice}")]
    Invalid {
        /// What is wrong, with its value.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// A subnet that is used already.
    #[error(
        "Pool overlaps with other one on this address space: subnet {net} overlaps with {by}, \
         so choose another one, or let Hull choose"
    )]
    Overlap {
        /// What was asked.
        net: IpNet,
        /// Who uses it: a network or a route of the host.
        by: String,
    },
    /// All subnets of the pool are used.
    #[error(
        "every subnet of {pool} is in use by networks or routes of the host: give one of your own"
    )]
    NoSubnet {
        /// The pool.
        pool: IpNet,
    },
    /// All addresses are used.
    #[error(
        "all addresses of {range} are in use: detach endpoints, or make a network with a larger subnet"
    )]
    NoAddress {
        /// Where was looked.
        range: IpNet,
    },
    /// An address that cannot be had.
    #[error("address {address} cannot be given to the endpoint: {why}")]
    Address {
        /// The address.
        address: IpAddr,
        /// Why not.
        why: &'static str,
    },
    /// A MAC address that is used in the network.
    #[error("MAC address {0} is in use in the network: choose another one, or let Hull choose")]
    MacTaken(MacAddress),
    /// A port of the host is somebody's.
    #[error(
        "Bind for {address} failed: port is already allocated ({protocol}, by {by}): choose another one, or stop that"
    )]
    PortTaken {
        /// Address and port.
        address: SocketAddr,
        /// The protocol.
        protocol: Protocol,
        /// Who has it.
        by: String,
    },
    /// A port of the host cannot be opened.
    #[error("port {address}/{protocol} of the host cannot be used{}", port_hint(.source))]
    Port {
        /// Address and port.
        address: SocketAddr,
        /// The protocol.
        protocol: Protocol,
        /// Why not.
        source: io::Error,
    },
    /// Ports of an internal network.
    #[error(
        "network {0} is internal, so ports of its endpoints cannot be published: use another network"
    )]
    PublishInternal(String),
    /// The operating system wants more rights.
    #[error("cannot {0}: {PRIVILEGE}")]
    Privilege(String),
    /// The program that sets packet filter rules is not there.
    #[error(
        "the program nft is missing, which sets up NAT and filters: install it (Debian: apt-get install nftables)"
    )]
    NoNft,
    /// The program for user-mode networking is not there.
    #[error(
        "the program passt is missing, which user-mode networking needs: install it (Debian: apt-get install passt)"
    )]
    NoPasst,
    /// The packet filter refused rules.
    #[error(
        "nft refused Hull's rules: {said} (does the kernel have nf_tables with NAT, for the families inet and bridge?)"
    )]
    Rules {
        /// The beginning of what it said.
        said: String,
    },
    /// The host has IPv6 switched off.
    #[error(
        "the host has IPv6 disabled: make the network without it, or enable it \
         (sysctl net.ipv6.conf.all.disable_ipv6=0, or boot without ipv6.disable=1)"
    )]
    NoIpv6,
    /// The host does not forward packets.
    #[error(
        "the host does not forward packets, so guests would reach nothing outside: \
         allow Hull to turn it on, or do: sysctl -w {sysctl}=1"
    )]
    Forwarding {
        /// Its name.
        sysctl: &'static str,
    },
    /// A switch of the kernel cannot be set.
    #[error("cannot set {sysctl}={value}: set it yourself, or make /proc/sys writable")]
    Sysctl {
        /// Its name.
        sysctl: String,
        /// The wanted value.
        value: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refused something about an interface.
    #[error("cannot {what}")]
    Kernel {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A program cannot be started.
    #[error("{program} cannot be started")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The user-mode network ended before it was of use.
    #[error("passt ended at once: {said}")]
    PasstEnded {
        /// What it said last.
        said: String,
    },
    /// A file of the state cannot be read or written.
    #[error("cannot {verb} {path}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { verb, path, source }
    }

    /// For what the kernel refused: missing rights are an error of their own.
    pub(crate) fn kernel(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Privilege(what),
            _ => Self::Kernel { what, source },
        }
    }

    pub(crate) fn invalid(what: impl Into<String>, advice: &'static str) -> Self {
        Self::Invalid {
            what: what.into(),
            advice,
        }
    }
}

fn port_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            " (ports below net.ipv4.ip_unprivileged_port_start take root or CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::AddrNotAvailable => " (the host does not have this address)",
        _ => "",
    }
}
