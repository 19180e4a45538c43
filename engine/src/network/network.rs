//! One network, and how an endpoint comes into it.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use jiff::Timestamp;

use super::endpoint::Endpoint;
use super::netlink::Netlink;
use super::networks::{
    allocate, bury, disconnect, forget_before, lower, raise, remove_unused_tables, undo,
};
use super::publish::{Market, Reservation};
use super::rules::Script;
use super::spec::MAX_QUEUES;
use super::state::{Directory, EndpointRecord, Locked, NetworkRecord};
use super::{
    EndpointId, EndpointSpec, Error, IpNet, MacAddress, NetworkId, Service, SubnetSpec, Tenant,
    bridge, sysctl, tap,
};

/// An endpoint, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What names it.
    pub id: EndpointId,
    /// Its MAC address.
    pub mac: MacAddress,
    /// Its addresses, with the prefix length of their subnet.
    pub addresses: Vec<IpNet>,
    /// The container, if it is one's.
    pub container: Option<Tenant>,
}

/// A network that was made.
#[derive(Clone, Debug)]
pub struct Network {
    directory: Directory,
    record: NetworkRecord,
}

impl Network {
    pub(crate) fn new(directory: Directory, record: NetworkRecord) -> Self {
        Self { directory, record }
    }

    /// What names it for good.
    #[must_use]
    pub fn id(&self) -> &NetworkId {
        &self.record.id
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Its subnets, at most one of each family, with their gateways.
    #[must_use]
    pub fn subnets(&self) -> &[SubnetSpec] {
        &self.record.subnets
    }

    /// The MTU of its guests, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.record.mtu
    }

    /// Whether nothing leaves it.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.record.internal
    }

    /// What its maker called it beside its name.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.record.labels
    }

    /// What its maker said for the driver.
    #[must_use]
    pub fn options(&self) -> &BTreeMap<String, String> {
        &self.record.options
    }

    /// Names of reserved addresses.
    #[must_use]
    pub fn auxiliary(&self) -> &BTreeMap<String, IpAddr> {
        &self.record.auxiliary
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.record.created
    }

    /// Where guests ask for names; nowhere in a network that was made without that service.
    #[must_use]
    pub fn name_server(&self) -> Option<IpAddr> {
        let mut services = Service::NAMES.iter();
        let serves = services.all(|one| self.record.services.contains(one));
        let gateways = self.record.subnets.iter().filter_map(|one| one.gateway);
        gateways.min_by_key(IpAddr::is_ipv6).filter(|_| serves)
    }

    /// The endpoints in it that live, with who is there.
    pub fn members(&self) -> Result<Vec<Member>, Error> {
        let locked = self.directory.lock()?;
        let mut living = Vec::new();
        for endpoint in locked.endpoints(&self.record.id)? {
            if locked.is_owned(&self.record.id, &endpoint.id)? {
                living.push(Member {
                    addresses: self.record.with_prefixes(&endpoint.addresses),
                    id: endpoint.id,
                    mac: endpoint.mac,
                    container: endpoint.container,
                });
            }
        }
        Ok(living)
    }

    /// The endpoints in it that live.
    pub fn endpoints(&self) -> Result<Vec<EndpointId>, Error> {
        let locked = self.directory.lock()?;
        let mut living = Vec::new();
        for endpoint in locked.endpoints(&self.record.id)? {
            if locked.is_owned(&self.record.id, &endpoint.id)? {
                living.push(endpoint.id);
            }
        }
        Ok(living)
    }

    /// Makes an endpoint: address, bridge, filter, ports, TAP, in this order, so that no frame passes before the rules are there. It lives
    /// for as long as this process does, or another that got [`Endpoint::ownership`].
    pub fn attach(&self, spec: &EndpointSpec) -> Result<Endpoint, Error> {
        if !(1..=MAX_QUEUES).contains(&spec.queues) {
            return Err(Error::invalid(
                format!("a TAP cannot have {} queues", spec.queues),
                "give from 1 to 16",
            ));
        }
        if self.record.internal && !spec.publish.is_empty() {
            return Err(Error::PublishInternal(self.record.name.clone()));
        }
        let locked = self.directory.lock()?;
        let mut netlink = Netlink::open().map_err(Error::kernel("open a netlink socket"))?;
        if locked.network(&self.record.id)?.is_none() {
            return Err(Error::NotFound(self.record.name.clone()));
        }
        let (record, reserved) = self.plan(&locked, &mut netlink, spec)?;
        let lock = locked.add_endpoint(&self.record.id, &record)?;
        let connected = self
            .connect(&mut netlink, &record, spec)
            .and_then(|queues| {
                locked.write_last(&self.record.id, &record.addresses)?;
                Ok(queues)
            });
        match connected {
            Ok(queues) => {
                drop(locked);
                Ok(self.endpoint(record, Some(lock), reserved.sockets, queues))
            }
            Err(error) => {
                undo(match spec.spare {
                    Some(_) => bridge::leave(&mut netlink, &record.id.tap()),
                    None => disconnect(&mut netlink, &record.id),
                });
                let mut script = Script::new();
                script.remove_endpoint(&self.record, &record);
                undo(script.apply().and_then(|()| remove_unused_tables()));
                undo(locked.remove_endpoint(&self.record.id, &record.id));
                Err(error)
            }
        }
    }

    /// An endpoint that another process owns, such as a microVM that outlived who started it: to publish, look and detach. It has
    /// no descriptors of queues.
    pub fn adopt(&self, id: &EndpointId) -> Result<Endpoint, Error> {
        let locked = self.directory.lock()?;
        let record = match locked.endpoint(&self.record.id, id)? {
            Some(record) if locked.is_owned(&self.record.id, id)? => record,
            _ => return Err(Error::NotFound(format!("{}/{id}", self.record.name))),
        };
        let sockets = Market::hold(&record.published);
        Ok(self.endpoint(record, None, sockets, Vec::new()))
    }

    /// Removes the network for good. Endpoints that live are in its way.
    pub fn remove(self) -> Result<(), Error> {
        let locked = self.directory.lock()?;
        let mut netlink = Netlink::open().map_err(Error::kernel("open a netlink socket"))?;
        if locked.network(&self.record.id)?.is_none() {
            return Err(Error::NotFound(self.record.name.clone()));
        }
        let endpoints = locked.endpoints(&self.record.id)?;
        let count = endpoints.len();
        let dead = bury(&locked, &mut netlink, &self.record, endpoints)?;
        if dead.len() < count {
            return Err(Error::InUse {
                name: self.record.name.clone(),
                endpoints: count - dead.len(),
            });
        }
        lower(&mut netlink, &self.record)?;
        locked.remove_network(&self.record.id)
    }

    fn endpoint(
        &self,
        record: EndpointRecord,
        lock: Option<File>,
        sockets: Vec<OwnedFd>,
        queues: Vec<OwnedFd>,
    ) -> Endpoint {
        Endpoint {
            directory: self.directory.clone(),
            network: self.record.clone(),
            record,
            queues,
            lock,
            sockets,
        }
    }

    /// Addresses and ports for a new endpoint. Those of the dead are free.
    fn plan(
        &self,
        locked: &Locked<'_>,
        netlink: &mut Netlink,
        spec: &EndpointSpec,
    ) -> Result<(EndpointRecord, Reservation), Error> {
        let mut taken = Vec::new();
        for network in locked.networks()? {
            bury(locked, netlink, &network, locked.endpoints(&network.id)?)?;
            for endpoint in locked.endpoints(&network.id)? {
                taken.extend(endpoint.published);
            }
        }
        let others = locked.endpoints(&self.record.id)?;
        let mac = match spec.mac {
            Some(mac)
                if others.iter().any(|other| other.mac == mac)
                    || bridge::mac(&self.record.id) == mac.octets() =>
            {
                return Err(Error::MacTaken(mac));
            }
            Some(mac) => mac,
            None => MacAddress::random().map_err(Error::io("read", "/dev/urandom"))?,
        };
        let last = locked.last(&self.record.id)?;
        let addresses = allocate(&self.record, &others, &spec.addresses, &last)?;
        let market = Market {
            by_kernel: true,
            to: &addresses,
            taken: &taken,
        };
        let mut reserved = market.reserve(&spec.publish)?;
        let record = EndpointRecord {
            id: match &spec.spare {
                Some(spare) => spare.clone(),
                None => EndpointId::random().map_err(Error::io("read", "/dev/urandom"))?,
            },
            mac,
            published: std::mem::take(&mut reserved.ports),
            addresses,
            container: spec.container.clone(),
        };
        Ok((record, reserved))
    }

    fn connect(
        &self,
        netlink: &mut Netlink,
        record: &EndpointRecord,
        spec: &EndpointSpec,
    ) -> Result<Vec<OwnedFd>, Error> {
        raise(netlink, &self.record, |script| {
            script.add_endpoint(&self.record, record);
        })?;
        forget_before(&record.published);
        let name = record.id.tap();
        let queues = match spec.spare {
            Some(_) => Vec::new(),
            None => tap::create(&name, spec.queues, spec.owner)?,
        };
        sysctl::port(&name)?;
        bridge::join(netlink, &self.record, &name)?;
        Ok(queues)
    }
}
