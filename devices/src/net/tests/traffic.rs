//! Frames both ways: buffers of all shapes, limits, links that are down and hosts that are gone.

use std::sync::atomic::Ordering;

use super::*;
use crate::rate::BucketConfig;
use crate::testing::MEMORY;

const NO_OFFLOADS: u64 = 0;

#[test]
fn the_driver_reads_address_mtu_and_link() {
    let (_host, mut driver) = ready(&config(), u64::MAX);
    let read = |driver: &Driver| {
        let mut space = [0; 12];
        driver.transport.read(0x100, &mut space);
        space
    };
    let mut expected = MAC.0.to_vec();
    expected.extend([1, 0, 1, 0, 0x78, 0x05]);
    assert_eq!(read(&driver).to_vec(), expected);
    let before = driver.interrupts.config.load(Ordering::SeqCst);
    let set = |driver: &Driver, up| {
        let done = driver
            .transport
            .with_device(|net: &mut Net| net.set_link(up));
        done.unwrap();
    };
    set(&driver, false);
    set(&driver, false);
    assert_eq!(read(&driver)[6], 0);
    assert_eq!(driver.interrupts.config.load(Ordering::SeqCst), before + 1);
    // What is sent now is lost, and nobody waits.
    send(&mut driver, 1, &frame(100, 0));
    assert_eq!(driver.rings[1].used().len(), 1);
    assert_eq!(counters(&driver).tx.get().drops, 1);
    set(&driver, true);
    assert_eq!(read(&driver)[6], 1);
}

#[test]
fn frames_that_come_while_the_link_is_down_do_not_wait_for_it() {
    let (host, mut driver) = ready(&config(), u64::MAX);
    let link = |driver: &Driver, up| {
        driver
            .transport
            .with_device(|net: &mut Net| net.set_link(up))
    };
    link(&driver, false);
    host.send(0, &frame(100, 0));
    offer(&mut driver, 0, RX, 2048);
    assert!(driver.rings[0].used().is_empty());
    assert_eq!(counters(&driver).rx.get().drops, 1);
    link(&driver, true);
    let late = frame(200, 1);
    host.send(0, &late);
    driver.run();
    assert_eq!(driver.rings[0].used(), [(0, 212)]);
}

#[test]
fn frames_wait_for_buffers_without_a_busy_loop() {
    let (host, mut driver) = ready(&config(), u64::MAX);
    for salt in 0..3 {
        host.send(0, &frame(500, salt));
    }
    // It comes to rest, or `run` panics.
    driver.run();
    for salt in 0..3 {
        offer(&mut driver, 0, RX, 1024);
        assert_eq!(driver.rings[0].used().len(), 1);
        assert_eq!(driver.get(RX + 12, 500), frame(500, salt));
    }
    assert_eq!(counters(&driver).rx.get().packets, 3);
    assert_eq!(counters(&driver).rx.get().bytes, 1500);
}

#[test]
fn a_frame_fills_several_buffers_at_once() {
    let (host, mut driver) = ready(&config(), MRG_RXBUF);
    for index in 0..8 {
        offer(&mut driver, 0, RX + index * 0x1000, 1000);
    }
    let bytes = frame(2500, 3);
    host.send(0, &bytes);
    driver.run();
    assert_eq!(driver.rings[0].used(), [(0, 1000), (1, 1000), (2, 512)]);
    assert_eq!(driver.get(RX, 12)[10..], [3, 0], "num_buffers");
    let mut got = driver.get(RX + 12, 988);
    got.extend(driver.get(RX + 0x1000, 1000));
    got.extend(driver.get(RX + 0x2000, 512));
    assert_eq!(got, bytes);
    // The next frame goes on with the next buffer.
    host.send(0, &frame(60, 0));
    driver.run();
    assert_eq!(driver.rings[0].used(), [(3, 72)]);
}

#[test]
fn a_frame_without_enough_buffers_waits_for_more() {
    let (host, mut driver) = ready(&config(), MRG_RXBUF);
    offer(&mut driver, 0, RX, 1000);
    let bytes = frame(60_000, 3);
    host.send(0, &bytes);
    host.send(0, &frame(70, 4));
    driver.run();
    assert!(driver.rings[0].used().is_empty());
    for index in 1..=15 {
        offer(&mut driver, 0, RX + index * 0x1000, 4096);
    }
    let used = driver.rings[0].used();
    assert_eq!(
        used.len(),
        16,
        "15 and the beginning for one frame, one for the next"
    );
    let mut got = driver.get(RX + 12, 988);
    for index in 1..=14 {
        got.extend(driver.get(RX + index * 0x1000, 4096));
    }
    got.extend(driver.get(RX + 15 * 0x1000, 4096));
    assert_eq!(got[..60_000], bytes);
    assert_eq!(counters(&driver).rx.get().drops, 0);
}

#[test]
fn without_merging_a_frame_has_one_buffer_or_is_dropped() {
    let (host, mut driver) = ready(&config(), NO_OFFLOADS);
    offer(&mut driver, 0, RX, 1000);
    offer(&mut driver, 0, RX + 0x1000, 2000);
    host.send(0, &frame(1500, 0));
    let fits = frame(900, 1);
    host.send(0, &fits);
    driver.run();
    assert_eq!(driver.rings[0].used(), [(0, 912)]);
    assert_eq!(driver.get(RX + 12, 900), fits);
    assert_eq!(counters(&driver).rx.get().drops, 1);
}

#[test]
fn unusable_buffers_come_back_and_harm_nobody() {
    let (host, mut driver) = ready(&config(), MRG_RXBUF);
    let beyond = u64::try_from(MEMORY).unwrap();
    driver.rings[0].add(&[desc(beyond, 2000, true)]);
    driver.rings[0].add(&[desc(RX, 11, true)]);
    driver.rings[0].add(&[desc(RX, 2000, false)]);
    driver.rings[0].add(&[desc(RX, 2000, true)]);
    host.send(0, &frame(100, 0));
    driver.kick(0);
    assert_eq!(driver.rings[0].used(), [(0, 0), (1, 0), (2, 0), (3, 112)]);
    assert!(!driver.is_lost());
}

#[test]
fn requests_that_hold_no_frame_are_errors() {
    let (host, mut driver) = ready(&config(), u64::MAX);
    let beyond = u64::try_from(MEMORY).unwrap();
    let requests = [
        vec![desc(TX, 25, false)],
        vec![desc(TX, 12, false)],
        vec![desc(beyond, 200, false)],
        vec![desc(TX, 200, false), desc(beyond, 200, false)],
        vec![desc(TX, 0x1_1000, false)],
        vec![desc(TX, 200, true)],
    ];
    for (request, count) in requests.iter().zip(1..) {
        assert_eq!(driver.request(1, request), Some(0));
        assert_eq!(counters(&driver).tx.get().errors, count);
    }
    assert_eq!(host.receive(0), None);
    assert!(!driver.is_lost());
}

#[test]
fn frames_in_many_pieces_go_out_whole() {
    let (host, mut driver) = ready(&config(), u64::MAX);
    let bytes = frame(6000, 5);
    driver.put(TX, &[0; HEADER]);
    driver.put(TX + 0x100, &bytes);
    let mut buffers = vec![desc(TX, 7, false), desc(TX + 7, 5, false)];
    buffers.extend((0..60).map(|i| desc(TX + 0x100 + i * 100, 100, false)));
    assert_eq!(driver.request(1, &buffers), Some(0));
    assert_eq!(host.receive(0), Some(bytes));
    // A system call takes 1024 pieces, and with the copied head this is one too many: rather none than half of it.
    let mut buffers = vec![desc(TX, 300, false)];
    buffers.extend((0..1023).map(|i| desc(TX + 0x100 + i, 1, false)));
    driver.rings[1].add_indirect(0x10_0000, &buffers);
    driver.kick(1);
    assert_eq!(driver.rings[1].used().len(), 1);
    assert_eq!(host.receive(0), None);
    assert_eq!(counters(&driver).tx.get().errors, 1);
}

#[test]
fn a_full_host_is_waited_for_and_nothing_is_lost() {
    let (host, mut driver) = ready(&config(), u64::MAX);
    let mut sent = 0_usize;
    // Frames stay in the queue when the host takes no more.
    while driver.rings[1].outstanding() < 16 {
        send(&mut driver, 1, &frame(20_000, sent));
        sent += 1;
        driver.rings[1].used();
        assert!(sent < 10_000);
    }
    let mut received = 0;
    while received < sent {
        match host.receive(0) {
            Some(bytes) if received < sent - 16 => assert_eq!(bytes, frame(20_000, received)),
            // Those that waited were overwritten in the meantime, by the last.
            Some(bytes) => assert_eq!(bytes, frame(20_000, sent - 1)),
            None => {
                driver.run_until(|driver| (driver.rings[1].used().len() + 1).checked_sub(1));
                continue;
            }
        }
        received += 1;
        driver.run();
    }
    assert_eq!(counters(&driver).tx.get().drops, 0);
}

#[test]
fn a_host_that_is_gone_stops_nothing() {
    let (host, mut driver) = ready(&config(), u64::MAX);
    drop(host);
    offer(&mut driver, 0, RX, 2048);
    for _ in 0..300 {
        send(&mut driver, 1, &frame(100, 0));
        assert_eq!(driver.rings[1].used().len(), 1);
    }
    assert_eq!(counters(&driver).tx.get().errors, 300);
    assert!(!driver.is_lost());
}

fn per_second(count: u64) -> RateConfig {
    RateConfig {
        bandwidth: None,
        ops: Some(BucketConfig {
            size: count,
            one_time_burst: 0,
            refill_time: 1000,
        }),
    }
}

#[test]
fn what_the_guest_sends_is_limited_until_the_limit_changes() {
    let config = NetConfig {
        tx_rate: per_second(2),
        ..config()
    };
    let (host, mut driver) = ready(&config, u64::MAX);
    for _ in 0..20 {
        send(&mut driver, 1, &frame(100, 0));
    }
    let passed = driver.rings[1].used().len();
    assert!((2..20).contains(&passed), "{passed}");
    let control = driver.transport.with_device(|net: &mut Net| net.tx_limit());
    control.unwrap().change(&per_second(0));
    let mut all = passed;
    driver.run_until(|driver| {
        all += driver.rings[1].used().len();
        (all == 20).then_some(())
    });
    assert_eq!((0..).map_while(|_: u8| host.receive(0)).count(), 20);
}

#[test]
fn what_comes_to_the_guest_is_limited_until_the_timer_goes_off() {
    let rate = RateConfig {
        bandwidth: Some(BucketConfig {
            size: 1000,
            one_time_burst: 0,
            refill_time: 100,
        }),
        ops: None,
    };
    let config = NetConfig {
        rx_rate: rate,
        ..config()
    };
    let (host, mut driver) = ready(&config, u64::MAX);
    for index in 0..10 {
        offer(&mut driver, 0, RX + index * 0x1000, 4096);
        host.send(0, &frame(1000, 0));
    }
    driver.run();
    let first = driver.rings[0].used().len();
    assert!((1..10).contains(&first), "{first}");
    let mut all = first;
    driver.run_until(|driver| {
        all += driver.rings[0].used().len();
        (all == 10).then_some(())
    });
}

#[test]
fn limits_and_settings_survive_a_restore() {
    let config = NetConfig {
        tx_rate: per_second(7),
        ..config()
    };
    let net = Net::new(&config, backend(Host::new(1).1)).unwrap();
    let DeviceState::Net(mut state) = net.save() else {
        panic!("not the state of an interface");
    };
    state.link_up = false;
    state.mac = MacAddress([2, 0, 0, 0, 0, 9]);
    let restored = Net::restore(&state, backend(Host::new(1).1)).unwrap();
    assert!(!restored.is_link_up());
    assert_eq!(restored.save(), DeviceState::Net(state));
}

#[test]
fn buffers_that_were_taken_ahead_survive_a_pause() {
    let (host, mut driver) = ready(&config(), MRG_RXBUF);
    for index in 0..8 {
        offer(&mut driver, 0, RX + index * 0x1000, 2000);
    }
    host.send(0, &frame(100, 0));
    driver.run();
    assert_eq!(driver.rings[0].used(), [(0, 112)]);
    for index in 1..8 {
        driver.transport.pause();
        assert_eq!(driver.transport.save().queues[0].next_avail, index);
        driver.transport.resume();
        host.send(0, &frame(100, 0));
        driver.run();
        assert_eq!(driver.rings[0].used(), [(index, 112)]);
    }
}

#[test]
fn what_came_for_the_old_driver_is_not_given_to_the_new_one() {
    let (host, mut driver) = ready(&config(), u64::MAX);
    host.send(0, &frame(100, 0));
    driver.start(u64::MAX);
    host.send(0, &frame(200, 0));
    offer(&mut driver, 0, RX, 2048);
    assert_eq!(driver.rings[0].used(), [(0, 212)]);
}
