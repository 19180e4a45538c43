//! Pause, restore and reset.

use super::*;

#[test]
fn connections_survive_a_pause_and_a_restored_guest_hears_that_they_are_gone() {
    let (mut host, mut driver) = start();
    let mut far = connect(&mut driver, &host, 1);
    driver.transport.pause();
    far.write_all(b"meanwhile").unwrap();
    driver.run();
    driver.transport.resume();
    driver.run();
    assert_eq!(only(receive(&mut driver)).1, b"meanwhile");
    let state = driver.transport.save();
    let device = host.restore(&state.device);
    let mut driver = driver.restored(&state, device);
    driver.transport.resume();
    driver.run();
    driver.put(RX_AT, &[0xff; 4]);
    assert_eq!(driver.request(EVENT, &[desc(RX_AT, 4, true)]), Some(4));
    assert_eq!(driver.get(RX_AT, 4), [0; 4]);
    assert_eq!(
        driver.request(EVENT, &[desc(RX_AT, 4, true)]),
        None,
        "it was told twice"
    );
}

#[test]
fn a_restored_guest_hears_of_no_new_connection_before_it_has_dealt_with_the_old_ones() {
    let (mut host, mut driver) = start();
    // As Linux does: there are always some buffers for events.
    for at in 0..3 {
        assert_eq!(
            driver.request(EVENT, &[desc(RX_AT + at * 8, 4, true)]),
            None
        );
    }
    let state = {
        driver.transport.pause();
        driver.transport.save()
    };
    let device = host.restore(&state.device);
    let mut driver = driver.restored(&state, device);
    driver.transport.resume();
    let mut client = host.client();
    client.write_all(b"CONNECT 7\n").unwrap();
    driver.run();
    assert_eq!(driver.wait_for(EVENT, 1).len(), 1, "it was not told");
    assert!(receive(&mut driver).is_empty(), "a connection came first");
    // The buffer is offered again.
    assert_eq!(driver.request(EVENT, &[desc(RX_AT, 4, true)]), None);
    assert_eq!(only(receive(&mut driver)).0.op, Op::Request as u16);
}

/// Linux holds on to a connection that it has closed, and refuses another one with the same ports meanwhile.
#[test]
fn a_restored_guest_is_asked_from_other_ports_than_before() {
    let (mut host, mut driver) = start();
    let (_client, before) = dial_in(&mut driver, &host, 7);
    driver.transport.pause();
    let state = driver.transport.save();
    let device = host.restore(&state.device);
    let mut driver = driver.restored(&state, device);
    driver.transport.resume();
    driver.run();
    assert_eq!(driver.request(EVENT, &[desc(RX_AT, 4, true)]), Some(4));
    assert_eq!(driver.request(EVENT, &[desc(RX_AT, 4, true)]), None);
    let (_client, after) = dial_in(&mut driver, &host, 7);
    assert_ne!(before, after);
}

#[test]
fn a_reset_of_the_device_ends_all_connections() {
    let (host, mut driver) = start();
    let mut far = connect(&mut driver, &host, 1);
    let (mut client, _) = dial_in(&mut driver, &host, 2);
    driver.start(u64::MAX);
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}
