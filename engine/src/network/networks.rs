//! All networks of a host: made, found, and brought into order after a crash.

use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;

use super::netlink::Netlink;
use super::network::Network;
use super::rules::{self, Script};
use super::state::{Directory, EndpointRecord, Locked, NetworkRecord};
use super::subnet::InUse;
use super::{
    Addressing, EndpointId, Error, MAX_MTU, NetworkId, NetworkSpec, Published, bridge, conntrack,
    program, sysctl,
};

/// The networks whose state is in one directory. One directory manages a host (a network namespace): another one
/// never disturbs what is not its own, but does not know it either.
#[derive(Clone, Debug)]
pub struct Networks {
    directory: Directory,
}

/// What was left by owners that are gone, and is no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Their endpoints, with TAPs, rules, leases and ports.
    pub endpoints: Vec<EndpointId>,
    /// Networks without endpoints, whose bridge and rules were removed. They are there as before, and come up with their next
    /// endpoint.
    pub idle: Vec<NetworkId>,
}

impl Networks {
    /// Uses this directory, which is made where it is missing. Nothing else is touched.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(Self {
            directory: Directory::open(directory.into())?,
        })
    }

    /// Makes a network, with its bridge and rules. It stays until it is removed, over restarts of the host.
    pub fn create(&self, spec: &NetworkSpec) -> Result<Network, Error> {
        self.make(spec, true)
    }

    /// Makes a network of which the kernel learns with its first endpoint. That takes no rights.
    pub(crate) fn define(&self, spec: &NetworkSpec) -> Result<Network, Error> {
        self.make(spec, false)
    }

    fn make(&self, spec: &NetworkSpec, at_once: bool) -> Result<Network, Error> {
        check(spec)?;
        let locked = self.directory.lock()?;
        let networks = locked.networks()?;
        if let Some(other) = networks.iter().find(|other| other.name == spec.name) {
            return Err(Error::NameTaken {
                name: spec.name.clone(),
                by: other.id.clone(),
            });
        }
        let mut netlink = Netlink::open().map_err(Error::kernel("open a netlink socket"))?;
        let own = own_bridges(&mut netlink, &networks)?;
        let routes = netlink
            .routes()
            .map_err(Error::kernel("read the host's routes"))?;
        let in_use = InUse::new(&networks, &routes, &own);
        let subnets = [(&spec.ipv4, false), (&spec.ipv6, true)]
            .map(|(wanted, is_v6)| in_use.resolve(wanted, is_v6));
        let [v4, v6] = subnets;
        let record = NetworkRecord {
            id: NetworkId::random().map_err(Error::io("read", "/dev/urandom"))?,
            name: spec.name.clone(),
            subnets: [v4?, v6?].into_iter().flatten().collect(),
            mtu: spec.mtu,
            internal: spec.internal,
            inter_container: spec.inter_container,
            masquerade: spec.masquerade,
            services: spec.services.clone(),
            enable_forwarding: spec.enable_forwarding,
            labels: spec.labels.clone(),
            options: spec.options.clone(),
            auxiliary: spec.auxiliary.clone(),
            created: Timestamp::now(),
        };
        locked.add_network(&record)?;
        if at_once && let Err(error) = raise(&mut netlink, &record, |_| {}) {
            undo(lower(&mut netlink, &record));
            undo(bridge::lower(&mut netlink, &record.id));
            undo(locked.remove_network(&record.id));
            return Err(error);
        }
        drop(locked);
        Ok(Network::new(self.directory.clone(), record))
    }

    /// The network with this name or identifier, or whose identifier begins so.
    pub fn find(&self, name: &str) -> Result<Network, Error> {
        let networks = self.directory.lock()?.networks()?;
        let exact = |network: &&NetworkRecord| network.name == name || network.id.as_str() == name;
        let begins = |network: &&NetworkRecord| network.id.as_str().starts_with(name);
        let found = match networks.iter().find(exact) {
            None if name.is_empty() => None,
            None => {
                let mut begun = networks.iter().filter(begins);
                let first = begun.next();
                if begun.next().is_some() {
                    return Err(Error::Ambiguous(name.to_owned()));
                }
                first
            }
            found => found,
        };
        match found {
            Some(record) => Ok(Network::new(self.directory.clone(), record.clone())),
            None => Err(Error::NotFound(name.to_owned())),
        }
    }

    /// All networks, by name.
    pub fn list(&self) -> Result<Vec<Network>, Error> {
        let networks = self.directory.lock()?.networks()?;
        let network = |record| Network::new(self.directory.clone(), record);
        Ok(networks.into_iter().map(network).collect())
    }

    /// Removes what owners left that are gone, however they ended: TAPs, rules, leases of addresses and ports, and the bridges of
    /// networks that have no endpoint now. Where nothing is left, it only looks.
    pub fn recover(&self) -> Result<Recovered, Error> {
        self.recover_for(&[])
    }

    /// The same at the start of an owner, which is about to attach to the networks of these names or identifiers: they stay up if they are.
    pub(crate) fn recover_for(&self, wanted: &[&str]) -> Result<Recovered, Error> {
        let locked = self.directory.lock()?;
        locked.sweep()?;
        let mut recovered = Recovered::default();
        let mut netlink = Netlink::open().map_err(Error::kernel("open a netlink socket"))?;
        for network in locked.networks()? {
            let endpoints = locked.endpoints(&network.id)?;
            let count = endpoints.len();
            let dead = bury(&locked, &mut netlink, &network, endpoints)?;
            let is_idle = dead.len() == count;
            let was_in_use = !dead.is_empty();
            recovered.endpoints.extend(dead);
            let bridge = netlink
                .index(&network.id.bridge())
                .map_err(Error::kernel("find a bridge"))?;
            let is_wanted = wanted
                .iter()
                .any(|wanted| *wanted == network.name || *wanted == network.id.as_str());
            // The host may have been restarted meanwhile.
            if is_idle && !is_wanted && (bridge.is_some() || was_in_use) {
                lower(&mut netlink, &network)?;
                recovered.idle.push(network.id);
            }
        }
        Ok(recovered)
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What of the host's own packet filter stands in the way of Hull's networks, in sentences that say what to do. Hull's rules cannot
    /// overrule it, and Hull does not change it.
    pub fn obstacles(&self) -> Result<Vec<String>, Error> {
        rules::obstacles()
    }

    /// How many packets were dropped since Hull's tables are there: between networks and the world, and to the host itself.
    pub fn refused(&self) -> Result<(u64, u64), Error> {
        rules::refused()
    }
}

/// The bridge of a network, forwarding, and its rules, as they must be for an endpoint, with what else is to come in the same transaction:
/// each takes the kernel some ten milliseconds, whatever is in it. The bridge comes first and goes last, so that there are no rules where there
/// is no bridge, however this ends.
pub(crate) fn raise(
    netlink: &mut Netlink,
    network: &NetworkRecord,
    more: impl FnOnce(&mut Script),
) -> Result<(), Error> {
    let bridge = netlink
        .index(&network.id.bridge())
        .map_err(Error::kernel("find a bridge"))?;
    if bridge.is_none() {
        // There is to be no bridge without rules.
        program::find("nft").ok_or(Error::NoNft)?;
        // Between the making of the network and now, somebody else may have begun to use its addresses.
        let routes = netlink
            .routes()
            .map_err(Error::kernel("read the host's routes"))?;
        let in_use = InUse::new(&[], &routes, &[]);
        network
            .subnets
            .iter()
            .try_for_each(|subnet| in_use.check(&subnet.net))?;
    }
    for is_v6 in [false, true] {
        let has = network
            .subnets
            .iter()
            .any(|subnet| subnet.net.addr().is_ipv6() == is_v6);
        if has && is_v6 && !sysctl::has_ipv6() {
            return Err(Error::NoIpv6);
        }
        if has && !network.internal {
            sysctl::forward(is_v6, network.enable_forwarding)?;
        }
    }
    bridge::raise(netlink, network)?;
    let mut script = Script::new();
    script.add_network(network);
    more(&mut script);
    script.apply()
}

/// Removes a network's rules and bridge, and the tables after the last one.
pub(crate) fn lower(netlink: &mut Netlink, network: &NetworkRecord) -> Result<(), Error> {
    let mut script = Script::new();
    script.remove_network(network);
    script.apply()?;
    remove_unused_tables()?;
    bridge::lower(netlink, &network.id)
}

/// Removes the tables, unless there are rules of a network in them.
pub(crate) fn remove_unused_tables() -> Result<(), Error> {
    if rules::any_network()? {
        return Ok(());
    }
    let mut script = Script::new();
    script.remove_tables();
    script.apply()
}

/// Removes those of the endpoints that nobody owns.
pub(crate) fn bury(
    locked: &Locked<'_>,
    netlink: &mut Netlink,
    network: &NetworkRecord,
    endpoints: Vec<EndpointRecord>,
) -> Result<Vec<EndpointId>, Error> {
    let mut dead = Vec::new();
    for endpoint in endpoints {
        if !locked.is_owned(&network.id, &endpoint.id)? {
            dead.push(endpoint);
        }
    }
    if dead.is_empty() {
        return Ok(Vec::new());
    }
    let mut script = Script::new();
    for endpoint in &dead {
        tracing::info!(network = network.name, endpoint = %endpoint.id, "removing an endpoint whose owner is gone");
        disconnect(netlink, &endpoint.id)?;
        script.remove_endpoint(network, endpoint);
    }
    script.apply()?;
    for endpoint in &dead {
        forget(endpoint);
        locked.remove_endpoint(&network.id, &endpoint.id)?;
    }
    Ok(dead.into_iter().map(|endpoint| endpoint.id).collect())
}

/// Removes an endpoint's TAP, whoever has descriptors of it.
pub(crate) fn disconnect(netlink: &mut Netlink, endpoint: &EndpointId) -> Result<(), Error> {
    let tap = endpoint.tap();
    netlink
        .remove_link(&tap)
        .map_err(Error::kernel(format!("remove TAP {tap}")))
}

/// Forgets the connections of an endpoint whose rules are gone. Nothing depends on it but old flows, which end in time by themselves.
pub(crate) fn forget(endpoint: &EndpointRecord) {
    if let Err(error) = conntrack::forget(&endpoint.addresses) {
        tracing::warn!(endpoint = %endpoint.id, %error, "connections of the endpoint are still remembered");
    }
}

/// Forgets what was sent to ports before they were published: it would go on to the host itself for as long as it goes on.
pub(crate) fn forget_before(ports: &[Published]) {
    if let Err(error) = conntrack::forget_unpublished(ports) {
        tracing::warn!(%error, "who sent to a port before it was published may still reach the host");
    }
}

/// What fails while something that failed is undone is said where it can be; `recover` tries it again.
pub(crate) fn undo(result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!(%error, "not all was undone");
    }
}

fn own_bridges(netlink: &mut Netlink, networks: &[NetworkRecord]) -> Result<Vec<u32>, Error> {
    let mut own = Vec::new();
    for network in networks {
        own.extend(
            netlink
                .index(&network.id.bridge())
                .map_err(Error::kernel("find a bridge"))?,
        );
    }
    Ok(own)
}

fn check(spec: &NetworkSpec) -> Result<(), Error> {
    let mut letters = spec.name.bytes();
    let begins = letters
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric());
    let goes_on = letters.all(|letter| letter.is_ascii_alphanumeric() || b"_.-".contains(&letter));
    if !begins || !goes_on || spec.name.len() > 64 {
        return Err(Error::Name(spec.name.clone()));
    }
    if super::default::RESERVED.contains(&spec.name.as_str()) {
        return Err(Error::invalid(
            format!("{:?} means no network where one is named", spec.name),
            "choose another name",
        ));
    }
    let has_v6 = spec.ipv6 != Addressing::Off;
    if spec.ipv4 == Addressing::Off && !has_v6 {
        return Err(Error::invalid(
            format!("network {:?} has neither IPv4 nor IPv6", spec.name),
            "give it a subnet",
        ));
    }
    if spec.mtu > MAX_MTU {
        return Err(Error::invalid(
            format!("MTU {} is too large for network {:?}", spec.mtu, spec.name),
            "give at most 65521 bytes, which is what a TAP can have",
        ));
    }
    // RFC 791 and RFC 8200, section 5: every host must take that much.
    let least = if has_v6 { 1280 } else { 576 };
    if spec.mtu < least {
        return Err(Error::invalid(
            format!("MTU {} is too small for network {:?}", spec.mtu, spec.name),
            "give at least 576 bytes for IPv4 and 1280 for IPv6",
        ));
    }
    if spec.services.iter().any(|service| service.port == 0) {
        return Err(Error::invalid(
            "no service has port 0",
            "give one from 1 to 65535",
        ));
    }
    Ok(())
}

/// The wanted addresses by family, or chosen ones; the last chosen are written down by the caller.
pub(crate) fn allocate(
    network: &NetworkRecord,
    others: &[EndpointRecord],
    wanted: &[IpAddr],
    last: &[IpAddr],
) -> Result<Vec<IpAddr>, Error> {
    let taken: Vec<IpAddr> = others
        .iter()
        .flat_map(|other| other.addresses.iter().copied())
        .collect();
    let mut addresses = Vec::new();
    for subnet in &network.subnets {
        let is_v6 = subnet.net.addr().is_ipv6();
        let of_family = |address: &&IpAddr| address.is_ipv6() == is_v6;
        addresses.push(match wanted.iter().find(of_family) {
            Some(wanted) => super::address::claim(subnet, &taken, *wanted)?,
            None => super::address::next(subnet, &taken, last.iter().find(of_family).copied())?,
        });
    }
    match wanted.iter().find(|wanted| !addresses.contains(wanted)) {
        Some(address) => Err(Error::Address {
            address: *address,
            why: "the network has no subnet of its family, or two of one were given",
        }),
        None => Ok(addresses),
    }
}
