//! The control queue.

use proptest::prelude::*;

use super::super::Command;
use super::*;

const OK: u8 = 0;
const ERR: u8 = 1;

/// Gives a command on `queue`; the answer.
fn command(driver: &mut Driver, queue: usize, bytes: &[u8]) -> u8 {
    driver.put(CONTROL, bytes);
    driver.put(CONTROL + 0x2000, &[0xee]);
    let buffers = [
        desc(CONTROL, 2, false),
        desc(CONTROL + 2, bytes.len() - 2, false),
        desc(CONTROL + 0x2000, 1, true),
    ];
    assert_eq!(driver.request(queue, &buffers), Some(1));
    driver.get(CONTROL + 0x2000, 1)[0]
}

fn ready_with_pairs(features: u64) -> (Host, Driver) {
    let (host, taps) = Host::new(2);
    let net = Net::new(&config(), backend(taps)).unwrap();
    let mut driver = Driver::new(Box::new(net));
    driver.start(features);
    (host, driver)
}

#[test]
fn known_commands_are_done_and_others_refused() {
    let (_host, mut driver) = ready_with_pairs(u64::MAX);
    let mut table = vec![1, 0];
    table.extend(2_u32.to_le_bytes());
    table.extend([2; 12]);
    table.extend(1_u32.to_le_bytes());
    table.extend([3; 6]);
    let cases: &[(&[u8], u8)] = &[
        (&[0, 0, 1], OK),
        (&[0, 1, 0], OK),
        (&[0, 2, 1], ERR),
        (&[0, 0, 1, 1], ERR),
        (&table, OK),
        (&table[..table.len() - 1], ERR),
        (&[1, 1, 2, 0, 0, 0, 0, 7], OK),
        (&[1, 1, 3, 0, 0, 0, 0, 7], ERR),
        (&[1, 1, 2, 0, 0], ERR),
        (&[2, 0, 1, 0], ERR),
        (&[4, 0, 2, 0], OK),
        (&[4, 0, 0, 0], ERR),
        (&[4, 0, 3, 0], ERR),
        (&[4, 0, 1, 0], OK),
        // Checksums and TSO for IPv4 were negotiated, UFO never is.
        (&[5, 0, 0x82, 0, 0, 0, 0, 0, 0, 0], OK),
        (&[5, 0, 0, 4, 0, 0, 0, 0, 0, 0], ERR),
        (&[99, 0, 0], ERR),
    ];
    for (bytes, answer) in cases {
        assert_eq!(command(&mut driver, 4, bytes), *answer, "{bytes:?}");
    }
    let mut mac = [0; 6];
    driver.transport.read(0x100, &mut mac);
    assert_eq!(mac, [2, 0, 0, 0, 0, 7]);
    // A reset brings the device's own back.
    driver.start(u64::MAX);
    driver.transport.read(0x100, &mut mac);
    assert_eq!(mac, MAC.0);
}

#[test]
fn commands_of_features_that_were_not_taken_are_refused() {
    // Only VIRTIO_NET_F_CTRL_VQ: without VIRTIO_NET_F_MQ the control queue is the third.
    let (_host, mut driver) = ready_with_pairs(1 << 17);
    for bytes in [
        &[0, 0, 1][..],
        &[1, 1, 2, 0, 0, 0, 0, 7],
        &[4, 0, 2, 0],
        &[5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(command(&mut driver, 2, bytes), ERR, "{bytes:?}");
    }
}

#[test]
fn a_filtered_guest_keeps_its_address() {
    let (_host, taps) = Host::new(1);
    let backend = NetBackend {
        filter: Some(SourceFilter {
            mac: MAC,
            addresses: Vec::new(),
        }),
        ..backend(taps)
    };
    let mut driver = Driver::ready(Box::new(Net::new(&config(), backend).unwrap()));
    assert_eq!(command(&mut driver, 2, &[1, 1, 2, 0, 0, 0, 0, 7]), ERR);
    let own = [&[1, 1][..], &MAC.0].concat();
    assert_eq!(command(&mut driver, 2, &own), OK);
    send(&mut driver, 1, &frame(100, 0));
    let mut other = frame(100, 0);
    other[11] ^= 1;
    send(&mut driver, 1, &other);
    let tx = counters(&driver).tx.get();
    assert_eq!((tx.packets, tx.spoofed, tx.drops), (1, 1, 0));
}

#[test]
fn queues_work_once_the_driver_uses_them() {
    let (host, mut driver) = ready_with_pairs(u64::MAX);
    host.send(1, &frame(100, 0));
    offer(&mut driver, 2, RX, 2048);
    send(&mut driver, 3, &frame(100, 1));
    assert!(driver.rings[2].used().is_empty());
    assert_eq!(host.receive(1), None);
    assert_eq!(command(&mut driver, 4, &[4, 0, 2, 0]), OK);
    driver.kick(3);
    assert_eq!(driver.rings[2].used(), [(0, 112)]);
    assert_eq!(host.receive(1), Some(frame(100, 1)));
    // And still after a pause.
    driver.transport.pause();
    driver.transport.resume();
    host.send(1, &frame(300, 0));
    offer(&mut driver, 2, RX, 2048);
    assert_eq!(driver.rings[2].used(), [(1, 312)]);
}

#[test]
fn an_announcement_is_asked_for_until_the_driver_has_made_it() {
    let (_host, mut driver) = ready(&config(), u64::MAX);
    let status = |driver: &Driver| {
        let mut status = [0];
        driver.transport.read(0x106, &mut status);
        status[0]
    };
    driver
        .transport
        .with_device(|net: &mut Net| net.announce())
        .unwrap();
    assert_eq!(status(&driver), 3);
    driver.put(CONTROL, &[3, 0]);
    let buffers = [desc(CONTROL, 2, false), desc(CONTROL + 16, 1, true)];
    assert_eq!(driver.request(2, &buffers), Some(1));
    assert_eq!(status(&driver), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes are a command or not, and a command says what its bytes say.
    #[test]
    fn any_bytes_can_come(class in 0_u8..7, number in 0_u8..3, data in prop::collection::vec(any::<u8>(), 0..40)) {
        let bytes = [&[class, number][..], &data].concat();
        match Command::parse(&bytes) {
            Some(Command::SetMac(mac)) => prop_assert!(mac.is_station() && mac.0[..] == data[..]),
            Some(Command::SetPairs(count)) => prop_assert_eq!(&count.to_le_bytes()[..], &data[..]),
            Some(Command::SetOffloads(bits)) => prop_assert_eq!(&bits.to_le_bytes()[..], &data[..]),
            Some(Command::ReceiveMode) => prop_assert_eq!(data.len(), 1),
            Some(Command::ReceiveTable) => prop_assert!(data.len() >= 8),
            Some(Command::AckAnnounce) => prop_assert!(data.is_empty()),
            None => {}
        }
    }
}
