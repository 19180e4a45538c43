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
