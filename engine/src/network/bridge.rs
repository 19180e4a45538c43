//! A network's bridge: its interface, the host's addresses on it, its switches.

use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::netlink::Netlink;
use super::state::NetworkRecord;
use super::{Error, NetworkId, sysctl};

/// Makes the bridge where it is missing, and everything about it as the record says.
pub(crate) fn raise(netlink: &mut Netlink, network: &NetworkRecord) -> Result<(), Error> {
    let name = network.id.bridge();
    let failed = |what: &str| {
        Error::kernel(format!(
            "{what} bridge {name} of network {:?}",
            network.name
        ))
    };
    if netlink.index(&name).map_err(failed("find"))?.is_none() {
        netlink
            .create_link(new(&name, &network.id))
            .map_err(failed("create"))?;
    }
    let index = netlink
        .index(&name)
        .map_err(failed("find"))?
        .unwrap_or_default();
    let has = |is_v6: bool| {
        network
            .subnets
            .iter()
            .any(|subnet| subnet.net.addr().is_ipv6() == is_v6)
    };
    sysctl::bridge(&name, has(false), has(true))?;
    for subnet in &network.subnets {
        if let Some(gateway) = subnet.gateway {
            netlink
                .add_address(index, gateway, subnet.net.prefix_len())
                .map_err(failed("give an address to"))?;
        }
    }
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
        .attributes
        .push(LinkAttribute::Mtu(network.mtu.into()));
    netlink.change_link(message).map_err(failed("set up"))
}

/// Removes the bridge, if it is there.
pub(crate) fn lower(netlink: &mut Netlink, id: &NetworkId) -> Result<(), Error> {
    let name = id.bridge();
    netlink
        .remove_link(&name)
        .map_err(Error::kernel(format!("remove bridge {name}")))
}

/// Makes an interface a port of the bridge and sets it up. An isolated port exchanges frames with the host only.
pub(crate) fn join(
    netlink: &mut Netlink,
    network: &NetworkRecord,
    port: &str,
) -> Result<(), Error> {
    let name = network.id.bridge();
    let failed = |what: &str| Error::kernel(format!("{what} interface {port} of bridge {name}"));
    let missing = || std::io::Error::from_raw_os_error(libc::ENODEV);
    let index = |netlink: &mut Netlink, name: &str| netlink.index(name)?.ok_or_else(missing);
    let bridge = index(netlink, &name).map_err(failed("find"))?;
    let port_index = index(netlink, port).map_err(failed("find"))?;

    let mut message = LinkMessage::default();
    message.header.index = port_index;
    message
        .attributes
        .push(LinkAttribute::Mtu(network.mtu.into()));
    message.attributes.push(LinkAttribute::Controller(bridge));
    netlink.change_link(message).map_err(failed("attach"))?;

    let mut message = LinkMessage::default();
    message.header.index = port_index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    let isolated = InfoBridgePort::Isolated(!network.inter_container);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![isolated])),
    ]));
    netlink.change_link(message).map_err(failed("set up"))
}

/// Takes an interface, if it is there, out of its bridge, and sets it down.
pub(crate) fn leave(netlink: &mut Netlink, port: &str) -> Result<(), Error> {
    let failed = |what: &str| Error::kernel(format!("{what} interface {port}"));
    let Some(index) = netlink.index(port).map_err(failed("find"))? else {
        return Ok(());
    };
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::Controller(0));
    netlink.change_link(message).map_err(failed("unplug"))
}

fn new(name: &str, id: &NetworkId) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        // Its own from the beginning, and the same after the host's restart: a bridge takes one of its ports' otherwise, and
        // guests lose the gateway when that port goes.
        LinkAttribute::Address(mac(id)),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![
                InfoBridge::StpState(BridgeStpState::Disabled),
                InfoBridge::ForwardDelay(0),
            ])),
        ]),
    ];
    message
}

/// The bridge's MAC address, made of the identifier's digits.
pub(crate) fn mac(id: &NetworkId) -> Vec<u8> {
    let mut mac = vec![0x02, 0x48];
    mac.extend(hex::decode(id.as_str()).unwrap_or_default());
    mac.resize(6, 0);
    mac
}
