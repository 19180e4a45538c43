//! What a driver sees of an entropy device.

use super::{Rng, RngState};
use crate::testing::{Driver, Fixture, desc, lifecycle_suite};
use crate::{DeviceState, VirtioDevice};

struct Entropy;

impl Fixture for Entropy {
    fn new() -> Self {
        Self
    }

    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Rng::new())
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
    let mut driver = Driver::ready(Box::new(Rng::new()));
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

#[test]
fn saves_nothing() {
    assert_eq!(Rng::new().save(), DeviceState::Rng(RngState {}));
}
