//! What a guest may not send. Frames are written to the TAP as a hostile guest would.

use std::net::Ipv4Addr;

use super::super::{Addressing, EndpointSpec, MacAddress, NetworkSpec};
use super::*;

const VNET_HEADER: usize = 10;
const BROADCAST: [u8; 6] = [0xff; 6];

/// Writes a frame to an endpoint's first queue.
fn send(queue: &OwnedFd, frame: &[u8]) {
    let mut bytes = vec![0; VNET_HEADER];
    bytes.extend_from_slice(frame);
    assert_eq!(rustix::io::write(queue, &bytes).unwrap(), bytes.len());
}

fn ethernet(to: [u8; 6], from: MacAddress, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from.octets(), &kind.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// RFC 826.
fn arp(sender: MacAddress, address: Ipv4Addr) -> Vec<u8> {
    let header = [0, 1, 8, 0, 6, 4, 0, 2];
    [
        &header[..],
        &sender.octets(),
        &address.octets(),
        &BROADCAST,
        &[10, 0, 0, 1],
    ]
    .concat()
}

/// RFC 791, with a datagram of UDP.
fn ipv4(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum: u32 = packet
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0, 9, 0, 9, 0, 8, 0, 0]);
    packet
}

/// RFC 8200, with a message of ICMPv6 without a checksum.
fn ipv6(from: &str, kind: u8, target: &str) -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let header = [0x60, 0, 0, 0, 0, 24, 58, 255];
    let message = [kind, 0, 0, 0, 0x20, 0, 0, 0];
    [
        &header[..],
        &address(from),
        &address("ff02::1"),
        &message,
        &address(target),
    ]
    .concat()
}

/// Whether a frame arrived, perhaps without its padding: a bridge whose frames go through netfilter takes it off.
fn is_among(got: &[Vec<u8>], frame: &[u8]) -> bool {
    got.iter()
        .any(|got| got.len() >= 42 && frame.starts_with(got))
}

#[test]
fn a_guest_is_held_to_its_addresses() {
    let Some(host) = Host::new() else { return };
    let mut spec = NetworkSpec::new("filter");
    spec.ipv6 = Addressing::Auto;
    let network = host.create(&spec);
    let mut endpoint = host.attach(&network, &EndpointSpec::default());
    let mut neighbour = host.attach(&network, &EndpointSpec::default());
    let (queue, other) = (
        endpoint.take_queues().remove(0),
        neighbour.take_queues().remove(0),
    );
    let (mac, wrong) = (endpoint.mac(), neighbour.mac());
    let v4 = |endpoint: &Endpoint| match endpoint.addresses()[0].addr() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!(),
    };
    let (own, theirs) = (v4(&endpoint), v4(&neighbour));
    let own6 = endpoint.addresses()[1].addr().to_string();
    let theirs6 = neighbour.addresses()[1].addr().to_string();
    let link = mac.link_local().to_string();
    let gateway6 = network.subnets()[1].gateway.unwrap().to_string();
    let (na, ra, redirect, ns) = (136, 134, 137, 135);

    let spoofed: Vec<(&str, Vec<u8>)> = vec![
        (
            "source MAC",
            ethernet(BROADCAST, wrong, 0x0800, &ipv4(own, theirs)),
        ),
        (
            "source IPv4",
            ethernet(BROADCAST, mac, 0x0800, &ipv4(theirs, own)),
        ),
        (
            "no IPv4",
            ethernet(BROADCAST, mac, 0x0800, &ipv4(Ipv4Addr::UNSPECIFIED, own)),
        ),
        (
            "ARP sender's IPv4",
            ethernet(BROADCAST, mac, 0x0806, &arp(mac, theirs)),
        ),
        (
            "ARP sender's MAC",
            ethernet(BROADCAST, mac, 0x0806, &arp(wrong, own)),
        ),
        (
            "ARP of another kind",
            ethernet(BROADCAST, mac, 0x0806, &{
                let mut arp = arp(mac, theirs);
                arp[1] = 6;
                arp
            }),
        ),
        (
            "VLAN",
            ethernet(
                BROADCAST,
                mac,
                0x8100,
                &[&[0, 1, 8, 0][..], &ipv4(theirs, own)].concat(),
            ),
        ),
        (
            "spanning tree",
            ethernet([1, 0x80, 0xc2, 0, 0, 0], mac, 38, &[0x42, 0x42, 3]),
        ),
        ("unknown kind", ethernet(BROADCAST, mac, 0x88cc, &[])),
        ("cut short", ethernet(BROADCAST, mac, 0x0800, &[])),
        (
            "source IPv6",
            ethernet(BROADCAST, mac, 0x86dd, &ipv6(&theirs6, 128, "::")),
        ),
        (
            "neighbour's advertisement",
            ethernet(BROADCAST, mac, 0x86dd, &ipv6(&own6, na, &theirs6)),
        ),
        (
            "gateway's advertisement",
            ethernet(BROADCAST, mac, 0x86dd, &ipv6(&link, na, &gateway6)),
        ),
        (
            "claim to be a router",
            ethernet(BROADCAST, mac, 0x86dd, &ipv6(&link, ra, "::")),
        ),
        (
            "redirect",
            ethernet(BROADCAST, mac, 0x86dd, &ipv6(&link, redirect, &theirs6)),
        ),
        (
            "claim to try an address",
            ethernet(BROADCAST, mac, 0x86dd, &ipv6("::", ns, &theirs6)),
        ),
    ];
    let count = || host.namespace.enter(|| endpoint.spoofed()).unwrap();
    for (number, (what, frame)) in (1..).zip(&spoofed) {
        send(&queue, frame);
        assert_eq!(count(), number, "{what}");
    }
    let dropped = count();
    let marked = |kind: u16, payload: &[u8]| ethernet(BROADCAST, mac, kind, payload);
    let honest = vec![
        marked(0x0800, &ipv4(own, theirs)),
        marked(0x0806, &arp(mac, own)),
        marked(0x0806, &arp(mac, Ipv4Addr::UNSPECIFIED)),
        marked(0x86dd, &ipv6(&own6, na, &own6)),
        marked(0x86dd, &ipv6(&link, ns, &theirs6)),
        marked(0x86dd, &ipv6("::", ns, &own6)),
    ];
    for frame in &honest {
        send(&queue, frame);
    }
    // The neighbour gets those, and none of the others.
    let mut got = Vec::new();
    let mut buffer = vec![0; 2000];
    eventually("all honest frames arrive", || {
        while let Ok(length) = rustix::io::read(&other, &mut buffer) {
            got.push(buffer[VNET_HEADER..length].to_vec());
        }
        honest.iter().all(|frame| is_among(&got, frame))
    });
    for (what, frame) in &spoofed {
        assert!(!is_among(&got, frame), "{what}");
    }
    assert_eq!(count(), dropped);
    assert_eq!(host.namespace.enter(|| neighbour.spoofed()).unwrap(), 0);
}

#[test]
fn ipv6_in_a_network_without_it_is_dropped_but_is_no_spoofing() {
    let Some(host) = Host::new() else { return };
    let network = host.create(&NetworkSpec::new("four"));
    let mut a = host.attach(&network, &EndpointSpec::default());
    let mut b = host.attach(&network, &EndpointSpec::default());
    let (queue, other) = (a.take_queues().remove(0), b.take_queues().remove(0));
    let IpAddr::V4(own) = a.addresses()[0].addr() else {
        unreachable!()
    };
    let six = ethernet(
        BROADCAST,
        a.mac(),
        0x86dd,
        &ipv6(&a.mac().link_local().to_string(), 135, "fe80::1"),
    );
    let four = ethernet(BROADCAST, a.mac(), 0x0806, &arp(a.mac(), own));
    send(&queue, &six);
    send(&queue, &four);
    let mut got = Vec::new();
    let mut buffer = vec![0; 2000];
    eventually("the frame of IPv4 arrives", || {
        while let Ok(length) = rustix::io::read(&other, &mut buffer) {
            got.push(buffer[VNET_HEADER..length].to_vec());
        }
        got.contains(&four)
    });
    assert!(!got.contains(&six));
    assert_eq!(host.namespace.enter(|| a.spoofed()).unwrap(), 0);
}
