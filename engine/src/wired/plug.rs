//! One interface of a container's machine, and the endpoint that it is plugged into.

use std::io;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::Connected;
use crate::Error;
use crate::container::{NetworkAttachment, Record};
use crate::names::Serving;
use crate::network::{
    self, DEFAULT_NETWORK, Endpoint, EndpointId, EndpointSpec, MacAddress, Network, Networks,
    Publication, Tenant,
};

/// An interface. Its TAP is there for as long as the machine is, in a network or not.
#[derive(Debug)]
pub(super) struct Jack {
    id: EndpointId,
    /// What the device has to begin with. The agent gives it the endpoint's.
    mac: MacAddress,
    queue: OwnedFd,
    plug: Option<Plug>,
}

#[derive(Debug)]
struct Plug {
    connected: Connected,
    endpoint: Endpoint,
    /// The network's names are answered for as long as somebody is in it.
    _names: Option<Serving>,
}

impl NetworkAttachment {
    /// Whether this is the network that is meant.
    pub(super) fn is(&self, one: &Connected) -> bool {
        self.network == one.network || self.network == one.network_id.as_str()
    }
}

impl Jack {
    pub(super) fn new() -> Result<Self, Error> {
        let (id, mac, queue) = network::spare_tap()?;
        Ok(Self {
            id,
            mac,
            queue,
            plug: None,
        })
    }

    pub(super) fn id(&self) -> &EndpointId {
        &self.id
    }

    pub(super) fn mac(&self) -> MacAddress {
        self.connected().map_or(self.mac, |one| one.mac)
    }

    pub(super) fn queue(&self) -> io::Result<OwnedFd> {
        self.queue.try_clone()
    }

    pub(super) fn ownership(&self) -> Option<BorrowedFd<'_>> {
        self.plug.as_ref()?.endpoint.ownership()
    }

    pub(super) fn connected(&self) -> Option<&Connected> {
        self.plug.as_ref().map(|plug| &plug.connected)
    }

    /// Plugs it in. It is the interface number `index`.
    pub(super) fn plug(
        &mut self,
        networks: &Networks,
        record: &Record,
        wanted: &NetworkAttachment,
        index: usize,
    ) -> Result<(), Error> {
        let network = networks.get(&wanted.network)?;
        let tenant = tenant(record, wanted, network.name());
        let endpoint = network.attach(&EndpointSpec {
            mac: wanted.mac,
            addresses: wanted.addresses.clone(),
            container: Some(tenant.clone()),
            spare: Some(self.id.clone()),
            ..EndpointSpec::default()
        })?;
        let name_server = name_server(&network);
        let connected = Connected {
            network: network.name().to_owned(),
            network_id: network.id().clone(),
            endpoint: endpoint.id().clone(),
            interface: format!("eth{index}"),
            mac: endpoint.mac(),
            addresses: endpoint.addresses(),
            gateways: endpoint.gateways(),
            name_server,
            mtu: endpoint.mtu(),
            published: endpoint.published().to_vec(),
            names: tenant.names,
            priority: wanted.priority,
        };
        self.plug = Some(Plug {
            connected,
            endpoint,
            _names: name_server.and_then(|address| Serving::begin(networks, &network, address)),
        });
        Ok(())
    }

    /// Notes what the container is called now.
    pub(super) fn rename(
        &mut self,
        record: &Record,
        wanted: &NetworkAttachment,
    ) -> Result<(), Error> {
        let Some(plug) = &mut self.plug else {
            return Ok(());
        };
        let tenant = tenant(record, wanted, &plug.connected.network);
        if tenant.names != plug.connected.names {
            plug.connected.names.clone_from(&tenant.names);
            plug.endpoint.set_container(tenant)?;
        }
        plug.connected.priority = wanted.priority;
        Ok(())
    }

    pub(super) fn publish(&mut self, ports: &[Publication]) -> Result<(), Error> {
        if let Some(plug) = &mut self.plug {
            plug.endpoint.publish(ports)?;
            plug.connected.published = plug.endpoint.published().to_vec();
        }
        Ok(())
    }

    /// Takes it out of its network. It is a spare one then.
    pub(super) fn unplug(&mut self) {
        if let Some(plug) = self.plug.take()
            && let Err(error) = plug.endpoint.unplug()
        {
            tracing::warn!(%error, "an endpoint is left; the next start removes it");
        }
    }

    /// Ends it. The machine is gone.
    pub(super) fn detach(self) {
        if let Some(plug) = self.plug
            && let Err(error) = plug.endpoint.detach()
        {
            tracing::warn!(%error, "an endpoint is left; the next start removes it");
        }
    }
}

/// In the default network nobody is found by a name, as with Docker.
fn name_server(network: &Network) -> Option<IpAddr> {
    network
        .name_server()
        .filter(|_| network.name() != DEFAULT_NETWORK)
}

fn tenant(record: &Record, wanted: &NetworkAttachment, network: &str) -> Tenant {
    Tenant {
        id: record.id.to_string(),
        names: match network {
            DEFAULT_NETWORK => Vec::new(),
            _ => names(record, wanted),
        },
        servers: record.config.dns.clone(),
        links: wanted.links.clone(),
    }
}

/// What a container is called in a network: its name, its aliases, its short id, its host name, each once.
fn names(record: &Record, wanted: &NetworkAttachment) -> Vec<String> {
    let mut names = vec![record.name.clone()];
    let more = wanted.aliases.iter().cloned();
    let more = more.chain([record.id.short().to_owned()]);
    for name in more.chain(record.config.hostname.clone()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
