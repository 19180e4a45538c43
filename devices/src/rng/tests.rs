//! What a driver sees of an entropy device.

use super::{Rng, RngConfig};
use crate::rate::{BucketConfig, RateConfig};
use crate::testing::{Driver, Fixture, desc, lifecycle_suite};
use crate::{DeviceState, VirtioDevice};

struct Entropy;

impl Fixture for Entropy {
    fn new() -> Self {
        Self
    }

    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Rng::new(&RngConfig::default()).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Rng(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Rng::restore(state).unwrap())
    }

    fn use_it(&mut self, driver: &mut Driver) {
        driver.put(0x1000, &[0; 64]);
        assert_eq!(driver.request(0, &[desc(0x1000, 64, true)]), Some(64));
        assert_ne!(driver.get(0x1000, 64), vec![0; 64]);
    }
}

lifecycle_suite!(lifecycle, Entropy);

#[test]
fn fills_all_buffers_of_a_request_but_not_more_than_64_kib() {
    let mut driver = Driver::ready(Box::new(Rng::new(&RngConfig::default()).unwrap()));
    driver.put(0x1000, &[0; 256]);
    let buffers = [desc(0x1000, 16, true), desc(0x1080, 32, true)];
    assert_eq!(driver.request(0, &buffers), Some(48));
    assert_ne!(driver.get(0x1000, 16), vec![0; 16]);
    assert_ne!(driver.get(0x1080, 32), vec![0; 32]);
    assert_eq!(driver.get(0x1010, 0x70), vec![0; 0x70]);
    assert_eq!(
        driver.request(0, &[desc(0x1_0000, 0x2_0000, true)]),
        Some(0x1_0000)
    );
}

/// So many tokens an hour.
fn hourly(size: u64) -> Option<BucketConfig> {
    Some(BucketConfig {
        size,
        one_time_burst: 0,
        refill_time: 3_600_000,
    })
}

#[test]
fn more_than_the_limit_waits_and_survives_a_restore() {
    let rate = RateConfig {
        bandwidth: hourly(100),
        ops: None,
    };
    let rng = Rng::new(&RngConfig { rate }).unwrap();
    let mut driver = Driver::ready(Box::new(rng));
    let request = [desc(0x1000, 64, true)];
    assert_eq!(driver.request(0, &request), Some(64));
    assert_eq!(driver.request(0, &request), None);
    driver.kick(0);
    let counters = driver.transport.with_device(|rng: &mut Rng| rng.counters());
    let counters = counters.unwrap();
    assert_eq!(
        (
            counters.entropy_bytes.get(),
            counters.entropy_rate_limiter_throttled.get()
        ),
        (64, 1)
    );
    let state = driver.transport.save();
    let device = Entropy.restore(&state.device);
    let mut driver = driver.restored(&state, device);
    driver.transport.resume();
    driver.run();
    assert_eq!(driver.rings[0].used(), []);
    let control = driver
        .transport
        .with_device(|rng: &mut Rng| rng.rate_control());
    control.unwrap().change(&RateConfig {
        bandwidth: Some(BucketConfig::default()),
        ops: None,
    });
    assert_eq!(driver.wait_for(0, 1).len(), 1);
}

#[test]
fn requests_that_cant_be_filled_fail_alone() {
    let mut driver = Driver::ready(Entropy.device());
    assert_eq!(driver.request(0, &[desc(1 << 40, 64, true)]), Some(0));
    Entropy.use_it(&mut driver);
    let counters = driver.transport.with_device(|rng: &mut Rng| rng.counters());
    assert_eq!(counters.unwrap().entropy_event_fails.get(), 1);
}
