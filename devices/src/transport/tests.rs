//! The status machine, and what the registers say. What devices do behind them is in their own tests.

use std::sync::atomic::Ordering;

use super::status::{self, Step};
use crate::rng::{Rng, RngConfig};
use crate::testing::{Driver, Ring, desc};

#[test]
fn drivers_go_step_by_step() {
    let taken = [
        (0, 1, Step::Accept),
        (1, 3, Step::Accept),
        (3, 11, Step::CheckFeatures),
        (11, 15, Step::Start),
        (15, 15, Step::Accept),
        (15, 0, Step::Reset),
        (15 | 64, 0, Step::Reset),
        (3, 3 | 128, Step::GiveUp),
        (1, 255, Step::GiveUp),
    ];
    for (from, to, step) in taken {
        assert_eq!(status::step(from, to), step, "{from} to {to}");
    }
    for (from, to) in [
        (0, 3),
        (0, 15),
        (1, 15),
        (3, 15),
        (3, 7),
        (15, 11),
        (15, 1),
        (11, 3),
        (128, 1),
    ] {
        assert_eq!(status::step(from, to), Step::Ignore, "{from} to {to}");
    }
}

#[test]
fn a_driver_that_gives_up_claims_nothing_by_it() {
    let rng = || Box::new(Rng::new(&RngConfig::default()).unwrap());
    let driver = Driver::new(rng());
    for status in [1, 3] {
        driver.write(0x70, status);
    }
    // A feature that no device has.
    driver.write(0x24, 1);
    driver.write(0x20, u32::MAX);
    driver.write(0x70, 0xff);
    assert_eq!(driver.read(0x70), 3 | 128);
    let state = driver.transport.save();
    let driver = driver.restored(&state, rng());
    assert_eq!(driver.read(0x70), 3 | 128);
}

#[test]
fn the_registers_identify_the_device() {
    let driver = Driver::new(Box::new(Rng::new(&RngConfig::default()).unwrap()));
    let read = |offset| driver.read(offset);
    assert_eq!([read(0), read(4), read(8)], [0x7472_6976, 2, 4]);
    driver.write(0x30, 0);
    assert_eq!(read(0x34), 64);
    driver.write(0x30, 1);
    assert_eq!(read(0x34), 0, "there is only one queue");
    assert_eq!(
        [read(0xb0), read(0xb4)],
        [u32::MAX; 2],
        "there is no shared memory"
    );
}

#[test]
fn an_interrupt_is_explained_and_acknowledged() {
    let mut driver = Driver::ready(Box::new(Rng::new(&RngConfig::default()).unwrap()));
    assert_eq!(driver.read(0x60), 0);
    driver.request(0, &[desc(0x1000, 8, true)]).unwrap();
    assert_eq!(driver.interrupts.queue.load(Ordering::SeqCst), 1);
    assert_eq!(driver.read(0x60), 1);
    driver.write(0x64, 1);
    assert_eq!(driver.read(0x60), 0);
}

#[test]
fn a_batch_of_requests_makes_one_interrupt() {
    let mut driver = Driver::ready(Box::new(Rng::new(&RngConfig::default()).unwrap()));
    for _ in 0..20 {
        driver.rings[0].add(&[desc(0x1000, 8, true)]);
    }
    driver.kick(0);
    assert_eq!(driver.rings[0].used().len(), 20);
    assert_eq!(driver.interrupts.queue.load(Ordering::SeqCst), 1);
}

#[test]
fn a_lost_device_says_so_once_and_does_nothing_until_its_reset() {
    let mut driver = Driver::ready(Box::new(Rng::new(&RngConfig::default()).unwrap()));
    driver.rings[0].set_avail_idx(1000);
    driver.kick(0);
    assert!(driver.is_lost());
    assert_eq!(driver.read(0x60), 2);
    driver.rings[0].set_avail_idx(0);
    assert_eq!(driver.request(0, &[desc(0x1000, 8, true)]), None);
    assert_eq!(driver.interrupts.config.load(Ordering::SeqCst), 1);
    driver.start(u64::MAX);
    assert!(!driver.is_lost());
    assert_eq!(driver.request(0, &[desc(0x1000, 8, true)]), Some(8));
}

#[test]
fn what_was_kicked_before_a_snapshot_is_done_after_it() {
    let mut driver = Driver::ready(Box::new(Rng::new(&RngConfig::default()).unwrap()));
    driver.request(0, &[desc(0x1000, 8, true)]).unwrap();
    driver.transport.pause();
    driver.rings[0].add(&[desc(0x1000, 8, true)]);
    driver.kick(0);
    assert!(driver.rings[0].used().is_empty(), "a paused device worked");
    let state = driver.transport.save();
    let interrupts = driver.interrupts.queue.load(Ordering::SeqCst);
    let mut driver = driver.restored(&state, Box::new(Rng::new(&RngConfig::default()).unwrap()));
    driver.transport.resume();
    assert!(
        driver.interrupts.queue.load(Ordering::SeqCst) > interrupts,
        "an interrupt that was not acknowledged was forgotten"
    );
    driver.run();
    assert_eq!(driver.rings[0].used().len(), 1);
}

#[test]
fn vcpus_and_the_event_loop_do_not_get_in_each_others_way() {
    let mut driver = Driver::new(Box::new(Rng::new(&RngConfig::default()).unwrap()));
    for round in 0..50 {
        driver.start(u64::MAX);
        driver.beside_its_loop(|guest, rings| {
            for _ in 0..20 {
                let head = rings[0].add(&[desc(0x1000, 8, true)]);
                guest.write(0x50, 0);
                // Every other round the guest resets the device without waiting for what it asked for.
                if round % 2 == 0 {
                    assert_eq!(wait(&mut rings[0]), (head, 8));
                }
                guest.write(0x64, guest.read(0x60));
            }
            guest.write(0x70, 0);
            assert_eq!(guest.read(0x70), 0);
        });
    }
}

/// Waits for the device to give something back.
fn wait(ring: &mut Ring) -> (u16, u32) {
    loop {
        if let [first, ..] = ring.used()[..] {
            return first;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_turn_that_empties_the_queue_leads_to_no_other_and_interrupts_once() {
    // As many as the queue has room for, and as one turn does.
    for requests in [1, 64] {
        let mut driver = Driver::ready(Box::new(Rng::new(&RngConfig::default()).unwrap()));
        let kick = &driver.transport.kicks()[0];
        let _ = kick.read();
        for _ in 0..requests {
            driver.rings[0].add(&[desc(0x1000, 16, true)]);
        }
        let before = driver.interrupts.queue.load(Ordering::SeqCst);
        driver.transport.on_kick(0);
        assert_eq!(
            driver.interrupts.queue.load(Ordering::SeqCst),
            before + 1,
            "{requests} requests"
        );
        assert_eq!(driver.rings[0].used().len(), requests);
        assert!(kick.read().is_err(), "{requests} requests");
    }
}
