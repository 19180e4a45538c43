//! What a guest and its host do, as a fuzzer's bytes have it: requests, mostly of a shape that the device understands;
//! descriptors, indexes and registers that make no sense; pauses, restores and resets; and what the backend does meanwhile.
//!
//! Whatever it is, the device neither panics nor is busy without end, and works again after a reset.

use super::input::Input;
use crate::testing::{Driver, MEMORY, desc};
use crate::{DeviceState, VirtioDevice};

/// The most steps of one script. A fuzzer finds nothing more in a longer one, and is slower.
const STEPS: usize = 256;
/// Where buffers lie, between the first page and the rings.
const BUFFERS: std::ops::Range<u64> = 0x1000..0x10_0000;
/// Where descriptor tables of requests lie that have one.
const TABLES: u64 = 0x10_0000;
/// Lengths of buffers for answers.
const LENGTHS: [usize; 12] = [
    0, 1, 4, 8, 16, 64, 512, 1024, 4096, 4140, 0x1_0000, 0x8_0000,
];

/// What is behind a device.
pub(super) trait Host {
    /// A new device.
    fn device(&mut self) -> Box<dyn VirtioDevice>;

    /// The device as it was saved.
    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice>;

    /// What a driver would write into a queue: a header that makes sense, and what follows it.
    fn request(&mut self, queue: usize, input: &mut Input<'_>) -> Vec<u8>;

    /// Something that happens on the host.
    fn act(&mut self, driver: &mut Driver, input: &mut Input<'_>);
}

/// Runs a script.
pub(super) fn run(host: &mut dyn Host, input: &mut Input<'_>) {
    let mut driver = Driver::ready(host.device());
    let mut place = BUFFERS.start;
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        match input.u8() % 16 {
            0..=6 => request(host, &mut driver, &mut place, input),
            7 | 8 => host.act(&mut driver, input),
            9 => kick(&mut driver, input),
            10 => descriptor(&driver, input),
            11 => index(&mut driver, input),
            12 => register(&driver, input),
            13 => configuration(&driver, input),
            14 => pause(&driver, input),
            _ => driver = start_over(host, driver, input),
        }
        driver.run();
    }
    driver.start(u64::MAX);
}

/// A request of buffers to read and buffers to write.
fn request(host: &mut dyn Host, driver: &mut Driver, place: &mut u64, input: &mut Input<'_>) {
    let how = input.u8();
    let queue = input.below(driver.rings.len());
    let bytes = match how & 1 {
        0 => host.request(queue, input),
        _ => input.literal().to_vec(),
    };
    let mut allocate = |len: usize| {
        let len = u64::try_from(len).unwrap();
        if *place + len > BUFFERS.end {
            *place = BUFFERS.start;
        }
        let at = *place;
        *place += len;
        at
    };
    let mut buffers = Vec::new();
    let cut = match how >> 1 & 3 {
        0 => bytes.len(),
        1 => 16.min(bytes.len()),
        _ => input.below(bytes.len() + 1),
    };
    for part in [&bytes[..cut], &bytes[cut..]] {
        if !part.is_empty() {
            let at = allocate(part.len());
            driver.put(at, part);
            buffers.push(desc(at, part.len(), false));
        }
    }
    for _ in 0..how >> 3 & 3 {
        let len = input.pick(&LENGTHS);
        buffers.push(desc(allocate(len), len, true));
    }
    let ring = &mut driver.rings[queue];
    match how >> 5 & 3 {
        _ if buffers.is_empty() => {}
        3 => {
            ring.add_indirect(TABLES, &buffers);
        }
        _ => {
            ring.add(&buffers);
        }
    }
    if how >> 7 == 0 {
        driver.kick(u32::try_from(queue).unwrap());
    }
}

fn kick(driver: &mut Driver, input: &mut Input<'_>) {
    let queue = input.u8();
    driver.kick(queue.into());
}

/// A descriptor as no driver writes it, and perhaps its head.
fn descriptor(driver: &Driver, input: &mut Input<'_>) {
    let ring = &driver.rings[input.below(driver.rings.len())];
    let address = match input.u8() % 4 {
        0 => input.u64(),
        1 => ring.desc + u64::from(input.u16()),
        2 => u64::try_from(MEMORY).unwrap() - input.number() % 0x2000,
        _ => u64::from(input.u16()) * 16,
    };
    let index = input.u16() % (ring.size + 1);
    let (flags, next) = (input.u8().into(), input.u8().into());
    ring.set_descriptor_at(
        ring.desc + u64::from(index) * 16,
        (address, input.short_number(), flags, next),
    );
}

/// Heads and indexes as no driver writes them.
fn index(driver: &mut Driver, input: &mut Input<'_>) {
    let queue = input.below(driver.rings.len());
    let ring = &mut driver.rings[queue];
    match input.u8() % 4 {
        0 => ring.set_avail_idx(input.u16()),
        1 => ring.set_avail_flags(input.u16()),
        2 => ring.set_used_event(input.u16()),
        _ => ring.publish(input.u8().into()),
    }
}

/// Any access to any register.
pub(super) fn register(driver: &Driver, input: &mut Input<'_>) {
    let how = input.u8();
    let offset = match how & 3 {
        0 => input.u16().into(),
        _ => u64::from(input.u8() % 0x40) * 4,
    };
    let size = match how >> 2 & 3 {
        0 => 1 + input.below(8),
        _ => 4,
    };
    let mut data = [0; 8];
    if how >> 7 == 0 {
        return driver.transport.read(offset, &mut data[..size]);
    }
    let value = match how >> 4 & 3 {
        0 => input.u64(),
        _ => input.number(),
    };
    let _ = driver.transport.write(offset, &value.to_le_bytes()[..size]);
}

/// A write into the configuration space.
fn configuration(driver: &Driver, input: &mut Input<'_>) {
    let offset = 0x100 + u64::from(input.u8());
    let value = input.number().to_le_bytes();
    let size = input.pick(&[1, 2, 4, 8]);
    let _ = driver.transport.write(offset, &value[..size]);
    let mut data = [0; 8];
    driver.transport.read(offset, &mut data[..size]);
}

fn pause(driver: &Driver, input: &mut Input<'_>) {
    driver.transport.pause();
    if input.flip() {
        kick_all(driver);
    }
    driver.transport.resume();
}

fn kick_all(driver: &Driver) {
    for queue in (0..).take(driver.rings.len()) {
        driver.write(0x50, queue);
    }
}

/// A snapshot and its restoration, or a reset with other features.
fn start_over(host: &mut dyn Host, mut driver: Driver, input: &mut Input<'_>) -> Driver {
    match input.u8() % 4 {
        0 => driver.start(0),
        1 => driver.start(input.u64()),
        _ => {
            let state = driver.transport.save();
            let device = host.restore(&state.device);
            driver = driver.restored(&state, device);
            driver.transport.resume();
        }
    }
    driver
}
