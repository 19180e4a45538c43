//! The network of a plain microVM from its start to its end: endpoints of networks, TAPs of others, passt.
//!
//! All of it reaches the VMM as descriptors. An endpoint's lock is one of them, so that it is owned for as long as the VMM lives, and
//! [`Networks::recover`] finds what a killed owner left. All calls block, for milliseconds.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use hull_vm_api::config::{DhcpLease, HostPath, NetworkBackend, NetworkInterface};
use hull_vm_api::{config, tap};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::net::{NetSpec, NetTarget};
use super::{SpecError, VmError, VmSpec};
use crate::Error;
use crate::network::{
    self, Endpoint, EndpointId, EndpointSpec, MacAddress, Networks, Passt, PasstSpec, Publication,
    Published,
};

/// The guest's address and gateway behind passt, where none was asked for: those of QEMU's user networking.
const USER: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 2, 15), 24);
const USER_GATEWAY: u8 = 2;

/// What an interface is on the host while its machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmNet {
    /// What is at its other end.
    pub to: NetTarget,
    /// Its endpoint, if it is in a network.
    pub endpoint: Option<EndpointId>,
    /// The host's TAP.
    pub tap: Option<String>,
    /// The guest's MAC address.
    pub mac: Option<MacAddress>,
    /// The guest's addresses, with the prefix length of their subnet.
    pub addresses: Vec<IpNet>,
    /// Where its default routes lead.
    pub gateways: Vec<IpAddr>,
    /// The ports of the host that are the guest's.
    pub published: Vec<Published>,
}

/// The network of a machine that is about to run. Dropping it leaves endpoints to [`Networks::recover`].
#[derive(Debug, Default)]
pub(crate) struct Wired {
    /// For the configuration.
    pub(crate) interfaces: Vec<NetworkInterface>,
    /// For the VMM; taken when it is started.
    pub(crate) descriptors: Vec<(String, OwnedFd)>,
    /// For people.
    pub(crate) shown: Vec<VmNet>,
    endpoints: Vec<Endpoint>,
    passts: Vec<Passt>,
}

impl Wired {
    /// Attaches all of the interfaces, or none.
    pub(crate) fn attach(spec: &VmSpec, networks: &Networks) -> Result<Self, VmError> {
        let mut wired = Self::default();
        match wired.attach_all(spec, networks) {
            Ok(()) => Ok(wired),
            Err(error) => {
                wired.detach();
                Err(error)
            }
        }
    }

    fn attach_all(&mut self, spec: &VmSpec, networks: &Networks) -> Result<(), VmError> {
        // What dead owners left may be in the way.
        let names = spec.networks.iter().filter_map(|net| match &net.to {
            NetTarget::Network(name) => Some(name.as_str()),
            _ => None,
        });
        networks.recover_for(&names.collect::<Vec<_>>())?;
        let mut publish = &spec.publish[..];
        for net in &spec.networks {
            let ports = match net.can_publish() {
                true => std::mem::take(&mut publish),
                false => &[],
            };
            match &net.to {
                NetTarget::None => {}
                NetTarget::Tap(name) => self.tap(net, name)?,
                NetTarget::Network(name) => self.network(net, (name, ports), spec, networks)?,
                NetTarget::User => self.user(net, ports, spec)?,
                NetTarget::Unplugged => self.unplugged(net)?,
            }
        }
        Ok(())
    }

    fn tap(&mut self, net: &NetSpec, name: &str) -> Result<(), VmError> {
        let queues = tap::open(name, net.queues)?;
        self.add(interface(self.interfaces.len(), net), queues);
        self.shown.push(VmNet {
            tap: Some(name.to_owned()),
            mac: net.mac,
            ..VmNet::new(&net.to)
        });
        Ok(())
    }

    /// A TAP that leads nowhere.
    fn unplugged(&mut self, net: &NetSpec) -> Result<(), VmError> {
        let queues = network::loose_tap(net.queues.into())?;
        self.add(interface(self.interfaces.len(), net), queues);
        self.shown.push(VmNet {
            mac: net.mac,
            ..VmNet::new(&net.to)
        });
        Ok(())
    }

    fn network(
        &mut self,
        net: &NetSpec,
        (name, ports): (&str, &[Publication]),
        spec: &VmSpec,
        networks: &Networks,
    ) -> Result<(), VmError> {
        let network = networks.get(name)?;
        let most = network.mtu();
        if let Some(mtu) = net.mtu.filter(|mtu| *mtu > most) {
            return Err(SpecError::Mtu {
                mtu,
                network: network.name().to_owned(),
                most,
            }
            .into());
        }
        let mut endpoint = network.attach(&EndpointSpec {
            mac: net.mac,
            addresses: net.addresses.clone(),
            queues: net.queues.into(),
            publish: ports.to_vec(),
            ..EndpointSpec::default()
        })?;
        let queues = endpoint.take_queues();
        let mut interface = interface(self.interfaces.len(), net);
        interface.guest_mac = Some(config::MacAddress(endpoint.mac().octets()));
        interface.mtu = Some(net.mtu.unwrap_or(most));
        let addresses = endpoint.addresses();
        interface.allowed_addresses = Some(addresses.iter().map(IpNet::addr).collect());
        interface.dhcp = lease(&addresses, &endpoint.gateways());
        if let Some(dhcp) = &mut interface.dhcp
            && dhcp.gateway.is_some()
        {
            dhcp.dns = spec.resolvers();
        }
        let lock = endpoint.ownership().map(|lock| lock.try_clone_to_owned());
        let lock = lock
            .transpose()
            .map_err(Error::io("copy the lock of", endpoint.tap()))?;
        let descriptor = |lock| (format!("{}.lock", interface.iface_id), lock);
        self.descriptors.extend(lock.map(descriptor));
        self.shown.push(VmNet {
            endpoint: Some(endpoint.id().clone()),
            tap: Some(endpoint.tap()),
            mac: Some(endpoint.mac()),
            addresses,
            gateways: endpoint.gateways(),
            published: endpoint.published().to_vec(),
            ..VmNet::new(&net.to)
        });
        self.endpoints.push(endpoint);
        self.add(interface, queues);
        Ok(())
    }

    fn user(&mut self, net: &NetSpec, ports: &[Publication], spec: &VmSpec) -> Result<(), VmError> {
        let (addresses, gateways) = user_addresses(&net.addresses);
        let mut passt = Passt::start(&PasstSpec {
            mac: net.mac,
            addresses: addresses.clone(),
            gateways: gateways.clone(),
            mtu: net.mtu,
            dns: spec.dns.iter().copied().map(IpAddr::V4).collect(),
            publish: ports.to_vec(),
            ..PasstSpec::default()
        })?;
        let socket = passt.take_socket();
        let mut interface = interface(self.interfaces.len(), net);
        interface.backend = NetworkBackend::Stream;
        self.shown.push(VmNet {
            mac: net.mac,
            addresses,
            gateways,
            published: passt.published().to_vec(),
            ..VmNet::new(&net.to)
        });
        self.passts.push(passt);
        self.add(interface, socket.into_iter().collect());
        Ok(())
    }

    /// An interface, whose descriptors are the queues.
    fn add(&mut self, interface: NetworkInterface, queues: Vec<OwnedFd>) {
        let id = &interface.iface_id;
        for (index, queue) in queues.into_iter().enumerate() {
            let name = match index {
                0 => id.clone(),
                _ => format!("{id}.{index}"),
            };
            self.descriptors.push((name, queue));
        }
        self.interfaces.push(interface);
    }

    /// Undoes all. The machine is gone, or never was.
    pub(crate) fn detach(self) {
        drop(self.descriptors);
        for endpoint in self.endpoints {
            if let Err(error) = endpoint.detach() {
                tracing::warn!(%error, "an endpoint is left; the next command that looks removes it");
            }
        }
        for passt in self.passts {
            passt.end();
        }
    }
}

impl VmNet {
    fn new(to: &NetTarget) -> Self {
        Self {
            to: to.clone(),
            endpoint: None,
            tap: None,
            mac: None,
            addresses: Vec::new(),
            gateways: Vec::new(),
            published: Vec::new(),
        }
    }
}

/// Puts in order what dead owners left of networks, if there ever were any.
pub(crate) fn recover(paths: &crate::Paths) -> Result<(), network::Error> {
    match paths.networks().exists() {
        true => Networks::open(paths.networks())?.recover().map(drop),
        false => Ok(()),
    }
}

/// An interface as far as a person said it, whose descriptors have its name.
pub(crate) fn interface(index: usize, net: &NetSpec) -> NetworkInterface {
    let id = format!("net{index}");
    let mut interface = NetworkInterface::new(id.clone(), HostPath::fd(&id));
    interface.guest_mac = net.mac.map(|mac| config::MacAddress(mac.octets()));
    interface.mtu = net.mtu;
    interface.queues = net.queues;
    if net.to == NetTarget::Unplugged {
        interface.link = config::LinkState::Down;
    }
    interface
}

/// What the guest is told by DHCP, which is of IPv4.
fn lease(addresses: &[IpNet], gateways: &[IpAddr]) -> Option<DhcpLease> {
    let own = addresses.iter().find_map(|address| match address {
        IpNet::V4(own) => Some(own),
        IpNet::V6(_) => None,
    })?;
    let gateway = gateways.iter().find_map(|gateway| match gateway {
        IpAddr::V4(gateway) => Some(*gateway),
        IpAddr::V6(_) => None,
    });
    Some(DhcpLease {
        address: own.addr(),
        prefix_length: own.prefix_len(),
        gateway,
        dns: Vec::new(),
    })
}

/// Addresses behind passt, and the gateway of IPv4.
fn user_addresses(wanted: &[IpAddr]) -> (Vec<IpNet>, Vec<IpAddr>) {
    let v4 = wanted.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    let own = v4.unwrap_or(USER.0);
    let [a, b, c, last] = own.octets();
    // The guest may have asked for the address that is usually the gateway's.
    let gateway = if last == USER_GATEWAY {
        1
    } else {
        USER_GATEWAY
    };
    let v6 = wanted.iter().filter(|address| address.is_ipv6());
    let nets = v6.map(|address| (*address, 64));
    let nets = [(IpAddr::V4(own), USER.1)].into_iter().chain(nets);
    let nets = nets.filter_map(|(address, prefix)| IpNet::new(address, prefix).ok());
    (nets.collect(), vec![Ipv4Addr::new(a, b, c, gateway).into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_is_the_endpoint_s_own() {
        let nets = [
            "fd00::2/64".parse().unwrap(),
            "10.1.0.2/20".parse().unwrap(),
        ];
        let gateways = ["10.1.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let told = lease(&nets, &gateways).unwrap();
        assert_eq!(
            (told.address, told.prefix_length),
            (Ipv4Addr::new(10, 1, 0, 2), 20)
        );
        assert_eq!(told.gateway, Some(Ipv4Addr::new(10, 1, 0, 1)));
        assert_eq!(lease(&nets[..1], &gateways), None);
        assert_eq!(lease(&nets, &[]).unwrap().gateway, None);
    }

    #[test]
    fn a_guest_behind_passt_is_never_its_own_gateway() {
        let (nets, gateways) = user_addresses(&[]);
        assert_eq!(nets, ["10.0.2.15/24".parse().unwrap()]);
        assert_eq!(gateways, ["10.0.2.2".parse::<IpAddr>().unwrap()]);
        let wanted = ["192.168.7.2".parse().unwrap(), "fd00::9".parse().unwrap()];
        let (nets, gateways) = user_addresses(&wanted);
        assert_eq!(
            nets,
            [
                "192.168.7.2/24".parse().unwrap(),
                "fd00::9/64".parse().unwrap()
            ]
        );
        assert_eq!(gateways, ["192.168.7.1".parse::<IpAddr>().unwrap()]);
    }
}
