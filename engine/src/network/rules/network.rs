//! A network's rules: what its guests may want of the host, and with which address others speak to them.

use super::super::NetworkId;
use super::super::state::NetworkRecord;
use super::{Script, family};

fn to_host(id: &NetworkId) -> String {
    format!("to_host_{id}")
}

fn to_guests(id: &NetworkId) -> String {
    format!("to_guests_{id}")
}

pub(super) fn add(script: &mut Script, network: &NetworkRecord) {
    let bridge = network.id.bridge();
    let (host, guests) = (to_host(&network.id), to_guests(&network.id));
    for chain in [&host, &guests] {
        script.line(format_args!("add chain inet hull {chain}"));
        script.line(format_args!("flush chain inet hull {chain}"));
    }
    add_to_host(script, network, &host);
    add_to_guests(script, network, &guests);
    script.line(format_args!(
        "add element inet hull to_host {{ \"{bridge}\" : goto {host} }}"
    ));
    script.line(format_args!(
        "add element inet hull to_guests {{ \"{bridge}\" : goto {guests} }}"
    ));
    elements(script, "add", network);
}

pub(super) fn delete(script: &mut Script, network: &NetworkRecord) {
    let bridge = network.id.bridge();
    let (host, guests) = (to_host(&network.id), to_guests(&network.id));
    elements(script, "delete", network);
    script.line(format_args!(
        "delete element inet hull to_host {{ \"{bridge}\" }}"
    ));
    script.line(format_args!(
        "delete element inet hull to_guests {{ \"{bridge}\" }}"
    ));
    for chain in [&host, &guests] {
        script.line(format_args!("flush chain inet hull {chain}"));
        script.line(format_args!("delete chain inet hull {chain}"));
    }
}

fn elements(script: &mut Script, verb: &str, network: &NetworkRecord) {
    let bridge = network.id.bridge();
    script.line(format_args!(
        "{verb} element inet hull bridges {{ \"{bridge}\" }}"
    ));
    if network.internal {
        script.line(format_args!(
            "{verb} element inet hull internal {{ \"{bridge}\" }}"
        ));
    }
    if network.inter_container {
        script.line(format_args!(
            "{verb} element inet hull talking {{ \"{bridge}\" . \"{bridge}\" }}"
        ));
    }
    if network.masquerade && !network.internal {
        for subnet in &network.subnets {
            let set = if subnet.net.addr().is_ipv4() {
                "masqueraded4"
            } else {
                "masqueraded6"
            };
            script.line(format_args!(
                "{verb} element inet hull {set} {{ {} }}",
                subnet.net
            ));
        }
    }
}

/// A guest may ping its gateway, find out its MAC address, and use the services that were named; nothing else of the host.
fn add_to_host(script: &mut Script, network: &NetworkRecord, chain: &str) {
    let mut rule = |rule: std::fmt::Arguments<'_>| {
        script.line(format_args!("add rule inet hull {chain} {rule}"));
    };
    rule(format_args!("ct state established,related accept"));
    rule(format_args!(
        "icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept"
    ));
    for gateway in network.subnets.iter().filter_map(|subnet| subnet.gateway) {
        let family = family(gateway);
        let icmp = if gateway.is_ipv4() { "icmp" } else { "icmpv6" };
        rule(format_args!(
            "{family} daddr {gateway} {icmp} type echo-request accept"
        ));
        for service in &network.services {
            let (protocol, port) = (service.protocol, service.port);
            rule(format_args!(
                "{family} daddr {gateway} {protocol} dport {port} accept"
            ));
        }
    }
    rule(format_args!("counter name host_refused drop"));
}

/// A guest sees who speaks to it, but where its answer would not find the way back: to the host's 127.0.0.1, and to a
/// neighbour that came by a published port of the host. (To itself it comes by that way only where
/// net.bridge.bridge-nf-call-iptables is 0: with it, the frame never leaves the bridge, which sends nothing back to a port.)
fn add_to_guests(script: &mut Script, network: &NetworkRecord, chain: &str) {
    script.line(format_args!(
        "add rule inet hull {chain} ip saddr 127.0.0.0/8 masquerade"
    ));
    for subnet in &network.subnets {
        let family = family(subnet.net.addr());
        let net = subnet.net;
        script.line(format_args!(
            "add rule inet hull {chain} {family} saddr {net} ct status dnat masquerade"
        ));
    }
}
