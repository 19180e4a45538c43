//! An endpoint's chain: which frames its guest may send. What is not allowed is dropped and counted.
//!
//! The chain lists what is allowed, in full, because an expression about a header that a frame does not have is no match.

use std::net::IpAddr;

use super::super::EndpointId;
use super::super::state::{EndpointRecord, NetworkRecord};
use super::Script;

fn chain(id: &EndpointId) -> String {
    format!("port_{id}")
}

/// The name of the counter of dropped frames.
pub(super) fn counter(id: &EndpointId) -> String {
    format!("spoofed_{id}")
}

pub(super) fn add(script: &mut Script, network: &NetworkRecord, endpoint: &EndpointRecord) {
    let (chain, counter) = (chain(&endpoint.id), counter(&endpoint.id));
    script.line(format_args!("add counter bridge hull {counter}"));
    script.line(format_args!("add chain bridge hull {chain}"));
    script.line(format_args!("flush chain bridge hull {chain}"));
    let mut rule = |rule: std::fmt::Arguments<'_>| {
        script.line(format_args!("add rule bridge hull {chain} {rule}"));
    };

    let mac = endpoint.mac;
    rule(format_args!(
        "ether saddr != {mac} counter name {counter} drop"
    ));
    for address in &endpoint.addresses {
        let IpAddr::V4(address) = address else {
            continue;
        };
        rule(format_args!("ether type ip ip saddr {address} accept"));
        // 0.0.0.0 asks whether an address is taken (RFC 5227, section 2.1.1).
        for sender in [address.to_string(), "0.0.0.0".to_owned()] {
            rule(format_args!(
                "ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4 \
                 arp saddr ether {mac} arp saddr ip {sender} accept"
            ));
        }
    }
    match network
        .subnets
        .iter()
        .any(|subnet| subnet.net.addr().is_ipv6())
    {
        true => add_ipv6(&mut rule, endpoint, &counter),
        // Any Linux speaks some IPv6 on a new interface: that is no spoofing.
        false => rule(format_args!("ether type ip6 counter drop")),
    }
    rule(format_args!("counter name {counter} drop"));
    let tap = endpoint.id.tap();
    script.line(format_args!(
        "add element bridge hull ports {{ \"{tap}\" : goto {chain} }}"
    ));
}

/// Its own addresses, and that of its link; of neighbour discovery (RFC 4861) only what is about them.
fn add_ipv6(
    rule: &mut impl FnMut(std::fmt::Arguments<'_>),
    endpoint: &EndpointRecord,
    counter: &str,
) {
    // No router, and no word for others.
    rule(format_args!(
        "ether type ip6 icmpv6 type {{ nd-router-advert, nd-redirect }} counter name {counter} drop"
    ));
    let own: Vec<u128> = endpoint
        .addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V6(address) => Some(*address),
            IpAddr::V4(_) => None,
        })
        .chain([endpoint.mac.link_local()])
        .map(u128::from)
        .collect();
    // The target is at byte 8 of advertisements and solicitations (sections 4.3 and 4.4).
    for address in &own {
        let target = format_args!("@th,64,128 {address:#034x}").to_string();
        for sender in &own {
            let sender = std::net::Ipv6Addr::from(*sender);
            rule(format_args!(
                "ether type ip6 ip6 saddr {sender} icmpv6 type nd-neighbor-advert {target} accept"
            ));
        }
        // Is the address taken? (RFC 4862, section 5.4.2)
        rule(format_args!(
            "ether type ip6 ip6 saddr :: icmpv6 type nd-neighbor-solicit {target} accept"
        ));
    }
    rule(format_args!(
        "ether type ip6 icmpv6 type nd-neighbor-advert counter name {counter} drop"
    ));
    for address in &own {
        let address = std::net::Ipv6Addr::from(*address);
        rule(format_args!("ether type ip6 ip6 saddr {address} accept"));
    }
    // Before it has an address, it says which groups it listens to, and asks for routers: MLD (RFC 3810) and RFC 4861, 4.1.
    rule(format_args!(
        "ether type ip6 ip6 saddr :: icmpv6 type {{ mld-listener-report, mld2-listener-report, nd-router-solicit }} accept"
    ));
}

pub(super) fn delete(script: &mut Script, endpoint: &EndpointRecord) {
    let (chain, counter, tap) = (
        chain(&endpoint.id),
        counter(&endpoint.id),
        endpoint.id.tap(),
    );
    script.line(format_args!(
        "delete element bridge hull ports {{ \"{tap}\" }}"
    ));
    script.line(format_args!("flush chain bridge hull {chain}"));
    script.line(format_args!("delete chain bridge hull {chain}"));
    script.line(format_args!("delete counter bridge hull {counter}"));
}
