//! Rate limits.

use super::*;
use crate::rate::{BucketConfig, RateConfig};

/// So many tokens, and in so many milliseconds as many again.
fn bucket(size: u64, refill_time: u64) -> Option<BucketConfig> {
    Some(BucketConfig {
        size,
        one_time_burst: 0,
        refill_time,
    })
}

const HOUR: u64 = 3_600_000;

fn limited(config: BlockConfig, rate: RateConfig) -> (Raw, Driver) {
    let raw = Raw::with(BlockConfig { rate, ..config });
    let driver = Driver::ready(raw.device());
    (raw, driver)
}

fn add_read(driver: &mut Driver) -> u16 {
    driver.put(HEADER, &[0; 16]);
    let buffers = [
        desc(HEADER, 16, false),
        desc(DATA, 512, true),
        desc(STATUS, 1, true),
    ];
    driver.rings[0].add(&buffers)
}

#[test]
fn what_is_too_much_waits_and_the_event_loop_rests() {
    for config in [config(), ring()] {
        let rate = RateConfig {
            ops: bucket(2, HOUR),
            ..RateConfig::default()
        };
        let (_raw, mut driver) = limited(config, rate);
        for _ in 0..5 {
            add_read(&mut driver);
        }
        // It would panic if it never came to rest.
        driver.kick(0);
        assert_eq!(driver.wait_for(0, 2).len(), 2);
        for _ in 0..10 {
            driver.kick(0);
        }
        assert_eq!(driver.rings[0].used(), []);
        assert_eq!(counters(&driver).rate_limiter_throttled_events.get(), 1);
        // More room, by way of the control that another thread has.
        let control = with(&driver, |block| block.rate_control());
        control.change(&RateConfig {
            ops: bucket(0, 0),
            ..RateConfig::default()
        });
        assert_eq!(driver.wait_for(0, 3).len(), 3);
    }
}

#[test]
fn what_waits_goes_on_by_itself() {
    for config in [config(), ring()] {
        let rate = RateConfig {
            bandwidth: bucket(512, 20),
            ..RateConfig::default()
        };
        let (_raw, mut driver) = limited(config, rate);
        for _ in 0..5 {
            add_read(&mut driver);
        }
        driver.kick(0);
        assert_eq!(driver.wait_for(0, 5).len(), 5);
        assert!(counters(&driver).rate_limiter_throttled_events.get() > 0);
    }
}

/// What passes a device in real time, with its real timer: the requests, and what the limit allows meanwhile.
fn pass(config: BlockConfig, size: u64, refill_time: u64, count: usize) -> (f64, f64) {
    let rate = RateConfig {
        ops: bucket(size, refill_time),
        ..RateConfig::default()
    };
    let (_raw, mut driver) = limited(config, rate);
    // What the bucket holds at first is no part of its rate.
    for _ in 0..size {
        add_read(&mut driver);
    }
    driver.kick(0);
    driver.wait_for(0, usize::try_from(size).unwrap());
    let began = std::time::Instant::now();
    let mut done = 0;
    while done < count {
        let more = (count - done).min(60);
        for _ in 0..more {
            add_read(&mut driver);
        }
        driver.kick(0);
        done += driver.wait_for(0, more).len();
    }
    let bucketfuls =
        began.elapsed().as_secs_f64() * 1000.0 / f64::from(u32::try_from(refill_time).unwrap());
    (
        f64::from(u32::try_from(done).unwrap()),
        bucketfuls * f64::from(u32::try_from(size).unwrap()),
    )
}

#[test]
fn a_device_holds_its_rate_with_its_real_timer() {
    for config in [config(), ring()] {
        // 10 and 2000 in a second. How late a busy host wakes a device is the host's business; more than the rate is not.
        for (size, refill_time, count) in [(1, 100, 12), (20, 10, 1000)] {
            let (done, allowed) = pass(config.clone(), size, refill_time, count);
            // A bucketful, and what may be made up for a late wake-up: 20 ms' worth.
            let slack = f64::from(u32::try_from(size + size * 20 / refill_time + 1).unwrap());
            assert!(
                done <= allowed * 1.03 + slack,
                "{done} passed, {allowed} are allowed"
            );
            assert!(
                done >= allowed * 0.5,
                "{done} passed, {allowed} are allowed"
            );
        }
    }
}

#[test]
fn what_waits_survives_a_restore_with_its_limit() {
    let rate = RateConfig {
        ops: bucket(1, HOUR),
        ..RateConfig::default()
    };
    let (raw, mut driver) = limited(ring(), rate);
    add_read(&mut driver);
    let second = add_read(&mut driver);
    driver.kick(0);
    assert_eq!(driver.wait_for(0, 1).len(), 1);
    let state = driver.transport.save();
    let device = Block::restore(state_of(&state.device), raw.disk()).unwrap();
    let mut driver = driver.restored(&state, Box::new(device));
    driver.transport.resume();
    driver.run();
    assert_eq!(driver.rings[0].used(), []);
    let control = with(&driver, |block| block.rate_control());
    control.change(&RateConfig {
        ops: bucket(0, 0),
        ..RateConfig::default()
    });
    assert_eq!(driver.wait_for(0, 1), [(second, 513)]);
}
