//! Which frames a filter lets out.

use std::net::IpAddr;

use proptest::prelude::*;

use super::super::Checksum;
use super::guest::{OTHER, arp, ipv4, ipv6, solicitation};
use super::*;

const OWN4: [u8; 4] = [10, 9, 0, 2];
const OWN6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const OTHER6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
/// The link-local address that belongs to `MAC`.
const LOCAL6: [u8; 16] = [
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0x5e, 0xff, 0xfe, 0x10, 0, 1,
];
const NONE6: [u8; 16] = [0; 16];

fn filter() -> SourceFilter {
    SourceFilter {
        mac: MAC,
        addresses: vec![IpAddr::from(OWN4), IpAddr::from(OWN6)],
    }
}

#[track_caller]
fn passes(frame: &[u8]) {
    assert!(filter().allows(frame, None), "{frame:02x?}");
}

#[track_caller]
fn is_dropped(frame: &[u8]) {
    assert!(!filter().allows(frame, None), "{frame:02x?}");
}

#[test]
fn the_ethernet_address_is_always_checked() {
    let only_mac = SourceFilter {
        addresses: Vec::new(),
        ..filter()
    };
    assert!(only_mac.allows(&frame(60, 0), None));
    assert!(only_mac.allows(&ipv4([1, 2, 3, 4], 17), None));
    for filter in [only_mac, filter()] {
        let mut other = ipv4(OWN4, 17);
        other[6..12].copy_from_slice(&OTHER);
        assert!(!filter.allows(&other, None));
        assert!(!filter.allows(&[], None));
        assert!(!filter.allows(&other[..13], None));
    }
}

#[test]
fn ip_packets_come_from_own_addresses() {
    passes(&ipv4(OWN4, 17));
    is_dropped(&ipv4([10, 9, 0, 3], 17));
    is_dropped(&ipv4([0; 4], 17));
    passes(&ipv6(OWN6, 17, &[0; 8]));
    passes(&ipv6(LOCAL6, 17, &[0; 8]));
    is_dropped(&ipv6(OTHER6, 17, &[0; 8]));
    is_dropped(&ipv6(NONE6, 17, &[0; 8]));
    // Other protocols and VLANs could hide anything.
    is_dropped(&frame(60, 0));
    let mut tagged = ipv4(OWN4, 17);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    is_dropped(&tagged);
    for wrong in [0x44, 0x65, 0x05] {
        let mut packet = ipv4(OWN4, 17);
        packet[14] = wrong;
        is_dropped(&packet);
    }
}

#[test]
fn arp_speaks_for_own_addresses() {
    passes(&arp(MAC.0, OWN4, [10, 9, 0, 1]));
    passes(&arp(MAC.0, [0; 4], OWN4));
    is_dropped(&arp(MAC.0, [0; 4], [10, 9, 0, 1]));
    is_dropped(&arp(MAC.0, [10, 9, 0, 3], [10, 9, 0, 1]));
    is_dropped(&arp(OTHER, OWN4, [10, 9, 0, 1]));
    is_dropped(&arp(MAC.0, OWN4, [10, 9, 0, 1])[..40]);
}

#[test]
fn neighbour_discovery_speaks_for_own_addresses() {
    const NS: u8 = 135;
    const NA: u8 = 136;
    let own = Some((1, MAC.0));
    let icmp = |source, kind, target, option| ipv6(source, 58, &solicitation(kind, target, option));
    passes(&icmp(OWN6, NS, OTHER6, own));
    passes(&icmp(LOCAL6, NS, OTHER6, None));
    passes(&icmp(NONE6, NS, OWN6, None));
    is_dropped(&icmp(NONE6, NS, OTHER6, None));
    is_dropped(&icmp(OTHER6, NS, OTHER6, own));
    is_dropped(&icmp(OWN6, NS, OTHER6, Some((1, OTHER))));
    passes(&icmp(OWN6, NA, OWN6, Some((2, MAC.0))));
    passes(&icmp(LOCAL6, NA, LOCAL6, None));
    is_dropped(&icmp(OWN6, NA, OTHER6, Some((2, MAC.0))));
    is_dropped(&icmp(OWN6, NA, OWN6, Some((2, OTHER))));
    // Routers and redirects.
    is_dropped(&icmp(LOCAL6, 134, OWN6, None));
    is_dropped(&icmp(LOCAL6, 137, OWN6, None));
    // Reports of groups may have no source, echoes must.
    passes(&ipv6(NONE6, 58, &[143, 0, 0, 0, 0, 0, 0, 0]));
    is_dropped(&ipv6(NONE6, 58, &[128, 0, 0, 0, 0, 0, 0, 0]));
    passes(&ipv6(OWN6, 58, &[128, 0, 0, 0, 0, 0, 0, 0]));
    // Options that go round, or out of the packet.
    let mut endless = solicitation(NS, OTHER6, own);
    endless[25] = 0;
    is_dropped(&ipv6(OWN6, 58, &endless));
    endless[25] = 9;
    is_dropped(&ipv6(OWN6, 58, &endless));
}

#[test]
fn nothing_hides_behind_extension_headers() {
    let behind = |headers: &[u8], payload: &[u8]| ipv6(OWN6, 0, &[headers, payload].concat());
    let lie = solicitation(136, OTHER6, None);
    let truth = solicitation(136, OWN6, None);
    let hop = [58, 0, 1, 4, 0, 0, 0, 0];
    passes(&behind(&hop, &truth));
    is_dropped(&behind(&hop, &lie));
    let destination = [[60, 0, 1, 4, 0, 0, 0, 0], hop].concat();
    passes(&behind(&destination, &truth));
    is_dropped(&behind(&destination, &lie));
    // In the first fragment of several.
    let fragment = [[44, 0, 1, 4, 0, 0, 0, 0], [58, 0, 0, 1, 0, 0, 0, 1]].concat();
    is_dropped(&behind(&fragment, &truth));
    // Behind more than can be seen.
    let long = [58, 40, 1, 4, 0, 0, 0, 0];
    is_dropped(&behind(&long, &lie));
    let many = [[60, 0, 1, 4, 0, 0, 0, 0]; 20].concat();
    is_dropped(&behind(&many, &lie));
    // What is no beginning of anything is only checked for its source.
    let later = [[44, 0, 1, 4, 0, 0, 0, 0], [58, 0, 0, 8, 0, 0, 0, 1]].concat();
    passes(&behind(&later, &lie));
}

#[test]
fn a_checksum_does_not_change_what_was_checked() {
    let allows =
        |frame: &[u8], start, offset| filter().allows(frame, Some(Checksum { start, offset }));
    let udp = ipv4(OWN4, 17);
    assert!(allows(&udp, 34, 6));
    assert!(!allows(&udp, 14, 12), "the source address");
    assert!(!allows(&udp, 0, 6), "the source of the frame");
    assert!(!allows(&arp(MAC.0, OWN4, OWN4), 14, 14));
    assert!(!allows(&arp(MAC.0, OWN4, OWN4), 4000, 14));
    let packet = ipv6(OWN6, 58, &solicitation(136, OWN6, None));
    assert!(allows(&packet, 54, 2));
    assert!(!allows(&packet, 54, 8), "the target");
    assert!(!allows(&packet, 56, 0));
    assert!(!allows(&packet, 14, 8));
    assert!(allows(&ipv6(OWN6, 6, &[0; 20]), 54, 16));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, nothing with another's address passes.
    #[test]
    fn no_other_source_passes(
        kind in prop::sample::select(vec![[8_u8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]]),
        mut bytes in prop::collection::vec(any::<u8>(), 14..256),
        own in any::<bool>(),
        checksum in prop::option::of((0_usize..300, 0_usize..300)),
    ) {
        bytes[12..14].copy_from_slice(&kind);
        if own {
            bytes[6..12].copy_from_slice(&MAC.0);
        }
        let checksum = checksum.map(|(start, offset)| Checksum { start, offset });
        let allowed = filter().allows(&bytes, checksum);
        // The chance that random bytes are one of the guest's addresses is nil.
        prop_assert!(!allowed);
    }

    /// Mutations of good packets never panic, and a changed source never passes.
    #[test]
    fn broken_packets_are_no_way_round(
        at in 14_usize..100,
        value in any::<u8>(),
        cut in 14_usize..120,
    ) {
        let mut packet = ipv6(OWN6, 58, &solicitation(136, OWN6, Some((2, MAC.0))));
        if let Some(byte) = packet.get_mut(at) {
            *byte = value;
        }
        packet.truncate(cut);
        let source = packet.get(22..38).map(<[u8]>::to_vec);
        if filter().allows(&packet, None) {
            let source = source.unwrap();
            prop_assert!(source == OWN6 || source == LOCAL6 || source == NONE6);
        }
    }
}
