//! The transport's registers in any order, with queues that lie anywhere in memory that has any contents.

use super::input::Input;
use super::script;
use crate::rng::{Rng, RngConfig};
use crate::testing::{Driver, MEMORY};

const STEPS: usize = 512;

pub(super) fn run(input: &mut Input<'_>) {
    let mut driver = Driver::new(Box::new(Rng::new(&RngConfig::default()).unwrap()));
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        match input.u8() % 8 {
            0..=3 => script::register(&driver, input),
            4 => contents(&driver, input),
            5 => status(&driver, input),
            6 => place(&driver, input),
            _ => {
                driver.transport.pause();
                if input.flip() {
                    driver = saved(driver);
                }
                driver.transport.resume();
            }
        }
        driver.run();
    }
    driver.start(u64::MAX);
}

/// Something in memory, which may be a queue.
fn contents(driver: &Driver, input: &mut Input<'_>) {
    let at = u64::from(input.u16()) * 16;
    driver.put(at, input.literal());
}

/// The status register, one step further or anywhere else.
fn status(driver: &Driver, input: &mut Input<'_>) {
    let next = match driver.read(0x70) {
        0 => 1,
        1 => 3,
        3 => {
            // VERSION_1 is the lowest bit of the upper half.
            let (low, high) = (input.u32(), u32::from(input.u8() | 1));
            for (half, value) in [(0, low), (1, high)] {
                driver.write(0x24, half);
                driver.write(0x20, value);
            }
            11
        }
        11 => 15,
        _ => u32::from(input.u8()),
    };
    driver.write(0x70, next);
}

/// A queue of which most is possible.
fn place(driver: &Driver, input: &mut Input<'_>) {
    driver.write(0x30, u32::from(input.u8() / 128));
    driver.write(0x38, 1 << (input.u8() % 17));
    let end = u32::try_from(MEMORY).unwrap();
    for register in [0x80, 0x90, 0xa0] {
        let at = match input.u8() {
            page @ 0..=199 => u32::from(page) * 4096,
            offset => end - u32::from(255 - offset) * 16,
        };
        driver.write(register, at);
        driver.write(register + 4, u32::from(input.u8() / 255));
    }
    driver.write(0x44, 1);
}

fn saved(driver: Driver) -> Driver {
    let state = driver.transport.save();
    let crate::DeviceState::Rng(device) = &state.device else {
        panic!("{state:?}");
    };
    let device = Box::new(Rng::restore(device).unwrap());
    driver.restored(&state, device)
}
