//! A guest that asks for its address.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::guest::{Buffers, OTHER, checksum};
use super::*;
use crate::net::Lease;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 7);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const DNS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 53), Ipv4Addr::new(192, 0, 2, 54)];

fn lease() -> Lease {
    Lease {
        address: OWN,
        prefix_length: 20,
        gateway: Some(GATEWAY),
        dns: DNS.to_vec(),
    }
}

fn asking(lease: Lease) -> (Host, Driver, Buffers) {
    let (host, taps) = Host::new(1);
    let backend = NetBackend {
        lease: Some(lease),
        // What asks for an address has none that it may use.
        filter: Some(SourceFilter {
            mac: MAC,
            addresses: vec![OWN.into()],
        }),
        ..backend(taps)
    };
    let mut driver = Driver::ready(Box::new(Net::new(&config(), backend).unwrap()));
    let buffers = Buffers::new(&mut driver, 0, RX);
    (host, driver, buffers)
}

/// A client's message: type, further options, its own address, flags.
fn question(kind: u8, options: &[u8], own: Ipv4Addr, flags: u8) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 9, 8, 7, 6, 0, 0, flags, 0];
    message.extend(own.octets());
    message.extend([0; 12]);
    message.extend(MAC.0);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, kind]);
    message.extend(options);
    message.push(255);
    let mut frame = [&[0xff; 6][..], &MAC.0, &[8, 0]].concat();
    let len = u16::try_from(message.len() + 28).unwrap();
    frame.extend([0x45, 0]);
    frame.extend(len.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(own.octets());
    frame.extend([0xff; 4]);
    frame.extend([0, 68, 0, 67]);
    frame.extend((len - 20).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(message);
    frame
}

/// What is answered, without virtio's header.
fn ask((host, driver, buffers): &mut (Host, Driver, Buffers), frame: &[u8]) -> Option<Vec<u8>> {
    send(driver, 1, frame);
    assert_eq!(driver.rings[1].used().len(), 1);
    assert_eq!(host.receive(0), None, "it went to the network");
    let mut frames = buffers.take(driver);
    assert!(frames.len() < 2);
    frames.pop().map(|frame| frame[12..].to_vec())
}

fn option(answer: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut options = &answer[42 + 240..];
    while options[0] != 255 {
        let len = usize::from(options[1]);
        if options[0] == wanted {
            return Some(&options[2..2 + len]);
        }
        options = &options[2 + len..];
    }
    None
}

#[test]
fn a_guest_is_told_its_address_and_its_network() {
    let mut guest = asking(lease());
    let offer = ask(&mut guest, &question(1, &[], Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    assert_eq!(offer[..6], MAC.0);
    assert_eq!(offer[26..34], [GATEWAY.octets(), OWN.octets()].concat());
    assert_eq!(checksum(&[&offer[14..34]]), 0xffff);
    let length = &offer[38..40];
    let sum = checksum(&[&offer[26..34], &[0, 17], length, &offer[34..]]);
    assert_eq!(sum, 0xffff, "of UDP");
    let message = &offer[42..];
    assert!(message.len() >= 300);
    assert_eq!(message[..8], [2, 1, 6, 0, 9, 8, 7, 6]);
    assert_eq!(message[16..20], OWN.octets());
    assert_eq!(message[28..34], MAC.0);
    assert_eq!(option(&offer, 53), Some(&[2][..]));

    let mut wanted = vec![50, 4];
    wanted.extend(OWN.octets());
    wanted.extend([54, 4]);
    wanted.extend(GATEWAY.octets());
    let given = ask(&mut guest, &question(3, &wanted, Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    for (number, value) in [
        (53, vec![5]),
        (54, GATEWAY.octets().to_vec()),
        (51, vec![0xff; 4]),
        (1, vec![255, 255, 240, 0]),
        (3, GATEWAY.octets().to_vec()),
        (6, DNS.map(|server| server.octets()).concat()),
        (26, vec![0x05, 0x78]),
    ] {
        assert_eq!(option(&given, number), Some(&value[..]), "option {number}");
    }
    // Later it has the address, and writes to the server alone.
    let mut renewal = question(3, &[], OWN, 0);
    renewal[30..34].copy_from_slice(&GATEWAY.octets());
    let renewed = ask(&mut guest, &renewal).unwrap();
    assert_eq!(option(&renewed, 53), Some(&[5][..]));
    assert_eq!(renewed[30..34], OWN.octets());
}

#[test]
fn other_addresses_and_other_servers_are_not_confirmed() {
    let mut guest = asking(lease());
    let none = Ipv4Addr::UNSPECIFIED;
    let refused = ask(&mut guest, &question(3, &[50, 4, 10, 9, 0, 8], none, 0)).unwrap();
    assert_eq!(option(&refused, 53), Some(&[6][..]));
    assert_eq!(option(&refused, 1), None);
    assert_eq!(refused[..6], [0xff; 6]);
    assert_eq!(refused[42 + 16..42 + 20], [0; 4]);
    let other = [50, 4, 10, 9, 0, 7, 54, 4, 10, 9, 0, 99];
    assert_eq!(ask(&mut guest, &question(3, &other, none, 0)), None);
    // Released, declined: nothing is to be said.
    for kind in [4, 7] {
        assert_eq!(ask(&mut guest, &question(kind, &[], OWN, 0)), None);
    }
    let told = ask(&mut guest, &question(8, &[], OWN, 0)).unwrap();
    assert_eq!(option(&told, 51), None);
    assert_eq!(option(&told, 1), Some(&[255, 255, 240, 0][..]));
    assert_eq!(told[42 + 16..42 + 20], [0; 4]);
}

#[test]
fn who_cannot_hear_its_address_is_answered_by_broadcast() {
    let mut guest = asking(Lease {
        gateway: None,
        dns: Vec::new(),
        ..lease()
    });
    let offer = ask(&mut guest, &question(1, &[], Ipv4Addr::UNSPECIFIED, 0x80)).unwrap();
    assert_eq!(
        (&offer[..6], &offer[30..34]),
        (&[0xff; 6][..], &[0xff; 4][..])
    );
    assert_eq!(offer[42 + 10], 0x80);
    assert_eq!((option(&offer, 3), option(&offer, 6)), (None, None));
    // It has to be somebody, also where there is no gateway.
    assert_eq!(option(&offer, 54), Some(&GATEWAY.octets()[..]));
}

#[test]
fn what_is_no_question_of_the_guest_s_own_is_not_answered() {
    let mut guest = asking(lease());
    let good = question(1, &[], Ipv4Addr::UNSPECIFIED, 0);
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = good.clone();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    for (frame, what) in [
        (with(6, &OTHER), "another station's frame"),
        (with(42 + 28, &OTHER), "another client"),
        (with(42, &[2]), "an answer"),
        (with(42 + 24, &[10, 0, 0, 1]), "through a relay"),
        (with(42 + 236, &[0]), "no cookie"),
        (with(42 + 241, &[9]), "an option of another length"),
        (good[..60].to_vec(), "the beginning"),
        (good[..good.len() - 2].to_vec(), "half an option"),
    ] {
        assert_eq!(ask(&mut guest, &frame), None, "{what}");
    }
    assert!(ask(&mut guest, &good).is_some());
}

#[test]
fn without_a_lease_questions_go_to_the_network() {
    let (host, mut driver) = ready(&config(), u64::MAX);
    let frame = question(1, &[], Ipv4Addr::UNSPECIFIED, 0);
    send(&mut driver, 1, &frame);
    assert_eq!(host.receive(0), Some(frame));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_options_are_too_much(options in prop::collection::vec(any::<u8>(), 0..300), kind: u8) {
        let mut guest = asking(lease());
        let frame = question(kind, &options, Ipv4Addr::UNSPECIFIED, 0);
        let _ = ask(&mut guest, &frame);
        prop_assert!(!guest.1.is_lost());
    }
}
