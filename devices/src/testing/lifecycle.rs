//! The one suite that every device passes. A device joins with one line: `lifecycle_suite!(name, Fixture)`.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::ring::{Descriptor, INDIRECT, NEXT, WRITE};
use super::{Driver, MEMORY};
use crate::{DeviceState, MmioTransport, RestoreError, TransportState, VirtioDevice};

/// A device for the suite, and what it is good for.
pub(crate) trait Fixture {
    /// What is behind the device.
    fn new() -> Self;

    /// A new device on it.
    fn device(&mut self) -> Box<dyn VirtioDevice>;

    /// The device as it was saved, on it.
    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice>;

    /// Does something useful with a driver that is ready, and checks it. Called again and again.
    fn use_it(&mut self, driver: &mut Driver);
}

macro_rules! lifecycle_suite {
    ($name:ident, $fixture:ty) => {
        mod $name {
            use super::*;
            use crate::testing::lifecycle as suite;

            #[test]
            fn works_after_negotiation() {
                suite::works_after_negotiation::<$fixture>();
            }
            #[test]
            fn works_without_optional_features() {
                suite::works_without_optional_features::<$fixture>();
            }
            #[test]
            fn refuses_old_drivers() {
                suite::refuses_old_drivers::<$fixture>();
            }
            #[test]
            fn goes_on_after_a_pause() {
                suite::goes_on_after_a_pause::<$fixture>();
            }
            #[test]
            fn goes_on_after_a_restore() {
                suite::goes_on_after_a_restore::<$fixture>();
            }
            #[test]
            fn takes_no_tampered_state() {
                suite::takes_no_tampered_state::<$fixture>();
            }
            #[test]
            fn works_after_a_reset() {
                suite::works_after_a_reset::<$fixture>();
            }
            #[test]
            fn survives_hostile_chains() {
                suite::survives_hostile_chains::<$fixture>();
            }
            #[test]
            fn survives_index_jumps() {
                suite::survives_index_jumps::<$fixture>();
            }
            #[test]
            fn does_not_start_outside_of_memory() {
                suite::does_not_start_outside_of_memory::<$fixture>();
            }
            #[test]
            fn ignores_wrong_accesses() {
                suite::ignores_wrong_accesses::<$fixture>();
            }
            #[test]
            fn keeps_its_queues_while_it_runs() {
                suite::keeps_its_queues_while_it_runs::<$fixture>();
            }
            #[test]
            fn survives_random_rings() {
                suite::survives_random_rings::<$fixture>();
            }
            #[test]
            fn survives_random_registers() {
                suite::survives_random_registers::<$fixture>();
            }
        }
    };
}
pub(crate) use lifecycle_suite;

fn ready<F: Fixture>() -> (F, Driver) {
    let mut fixture = F::new();
    let driver = Driver::ready(fixture.device());
    (fixture, driver)
}

/// Whatever happened, a reset makes the device good again.
fn recovers<F: Fixture>(fixture: &mut F, driver: &mut Driver) {
    driver.start(u64::MAX);
    fixture.use_it(driver);
}

pub(crate) fn works_after_negotiation<F: Fixture>() {
    let (mut fixture, mut driver) = ready::<F>();
    assert!(driver.takes_event_idx());
    // More often than any ring is long, so that all wrap around.
    for _ in 0..300 {
        fixture.use_it(&mut driver);
    }
}

pub(crate) fn works_without_optional_features<F: Fixture>() {
    let mut fixture = F::new();
    let mut driver = Driver::new(fixture.device());
    driver.start(0);
    fixture.use_it(&mut driver);
}

pub(crate) fn refuses_old_drivers<F: Fixture>() {
    let mut fixture = F::new();
    let mut driver = Driver::new(fixture.device());
    assert!(
        !driver.negotiate(0xffff_ffff),
        "a driver without VERSION_1 was accepted"
    );
    // A feature that is not offered is refused as well.
    for status in [0, 1, 3] {
        driver.write(0x70, status);
    }
    driver.write(0x24, 1);
    driver.write(0x20, u32::MAX);
    driver.write(0x70, 11);
    assert_eq!(driver.read(0x70), 3);
    recovers(&mut fixture, &mut driver);
}

pub(crate) fn goes_on_after_a_pause<F: Fixture>() {
    let (mut fixture, mut driver) = ready::<F>();
    for _ in 0..3 {
        fixture.use_it(&mut driver);
        driver.transport.pause();
        driver.run();
        driver.transport.resume();
        driver.run();
    }
    fixture.use_it(&mut driver);
}

pub(crate) fn goes_on_after_a_restore<F: Fixture>() {
    let (mut fixture, mut driver) = ready::<F>();
    fixture.use_it(&mut driver);
    driver.transport.pause();
    let saved = postcard::to_stdvec(&driver.transport.save()).unwrap();
    let state: TransportState = postcard::from_bytes(&saved).unwrap();
    let device = fixture.restore(&state.device);
    let mut driver = driver.restored(&state, device);
    assert_eq!(driver.transport.save(), state);
    driver.transport.resume();
    driver.run();
    fixture.use_it(&mut driver);
}

pub(crate) fn takes_no_tampered_state<F: Fixture>() {
    let (mut fixture, driver) = ready::<F>();
    let good = driver.transport.save();
    let mut refused = |change: &dyn Fn(&mut TransportState)| {
        let mut state = good.clone();
        change(&mut state);
        let line = std::sync::Arc::new(std::sync::Arc::clone(&driver.interrupts));
        let device = fixture.restore(&state.device);
        MmioTransport::restore(&state, device, driver.memory.clone(), line).unwrap_err()
    };
    assert!(matches!(
        refused(&|s| s.status = 4),
        RestoreError::Status(4)
    ));
    assert!(matches!(
        refused(&|s| s.driver_features = u64::MAX),
        RestoreError::Features { .. }
    ));
    assert!(matches!(
        refused(&|s| s.queues.clear()),
        RestoreError::Queues { .. }
    ));
    assert!(matches!(
        refused(&|s| s.queues[0].max_size = 3),
        RestoreError::Queues { .. }
    ));
    assert!(matches!(
        refused(&|s| s.queues[0].size = 3),
        RestoreError::Queue { .. }
    ));
    assert!(matches!(
        refused(&|s| s.queues[0].used_ring |= 1),
        RestoreError::Queue { .. }
    ));
    let outside = u64::try_from(MEMORY).unwrap() - 16;
    assert!(matches!(
        refused(&|s| s.queues[0].desc_table = outside),
        RestoreError::Queue { .. }
    ));
}

pub(crate) fn works_after_a_reset<F: Fixture>() {
    let (mut fixture, mut driver) = ready::<F>();
    fixture.use_it(&mut driver);
    for _ in 0..3 {
        recovers(&mut fixture, &mut driver);
    }
    driver.write(0x70, 0);
    assert_eq!(driver.read(0x70), 0);
    assert_eq!(driver.read(0x60), 0);
    // A kick of a device without a driver does nothing.
    driver.kick(0);
}

/// What is wrong with a chain, its descriptors with their places, and its head.
type Hostile = (&'static str, &'static [(u16, Descriptor)], u16);

pub(crate) fn survives_hostile_chains<F: Fixture>() {
    const TABLE: u64 = 0x10_0000;
    const BEYOND: u64 = MEMORY as u64;
    let hostile: &[Hostile] = &[
        ("leads to itself", &[(0, (0x1000, 64, NEXT, 0))], 0),
        (
            "goes round",
            &[(0, (0x1000, 64, NEXT, 1)), (1, (0x1000, 64, NEXT, 0))],
            0,
        ),
        (
            "goes round in writable buffers",
            &[(0, (0x1000, 64, NEXT | WRITE, 0))],
            0,
        ),
        (
            "leads out of the table",
            &[(0, (0x1000, 64, NEXT, 5000))],
            0,
        ),
        ("begins outside of the table", &[], 5000),
        ("is outside of memory", &[(0, (BEYOND, 64, 0, 0))], 0),
        (
            "is writable outside of memory",
            &[(0, (BEYOND, 64, WRITE, 0))],
            0,
        ),
        (
            "crosses the end of memory",
            &[(0, (BEYOND - 8, 4096, WRITE, 0))],
            0,
        ),
        ("wraps around", &[(0, (u64::MAX - 8, 4096, WRITE, 0))], 0),
        ("is as long as can be", &[(0, (0, u32::MAX, 0, 0))], 0),
        (
            "is writable as long as can be",
            &[(0, (0, u32::MAX, WRITE, 0))],
            0,
        ),
        ("is empty", &[(0, (0x1000, 0, 0, 0))], 0),
        ("is empty and writable", &[(0, (0x1000, 0, WRITE, 0))], 0),
        (
            "is badly ordered",
            &[(0, (0x1000, 64, NEXT | WRITE, 1)), (1, (0x2000, 64, 0, 0))],
            0,
        ),
        ("has an empty table", &[(0, (TABLE, 0, INDIRECT, 0))], 0),
        (
            "has a table of odd size",
            &[(0, (TABLE, 17, INDIRECT, 0))],
            0,
        ),
        (
            "has a table outside of memory",
            &[(0, (BEYOND, 64, INDIRECT, 0))],
            0,
        ),
        (
            "has a huge table",
            &[(0, (0x1000, 16 * 65_535, INDIRECT, 0))],
            0,
        ),
        ("has a table in itself", &[(0, (TABLE, 16, INDIRECT, 0))], 0),
    ];
    let (mut fixture, mut driver) = ready::<F>();
    for queue in 0..driver.rings.len() {
        for (what, descriptors, head) in hostile {
            // The last one's table holds a table; the huge one's is endless.
            driver.rings[queue].set_descriptor_at(TABLE, (TABLE, 16, INDIRECT, 0));
            for (index, descriptor) in *descriptors {
                driver.rings[queue].set_descriptor(*index, *descriptor);
            }
            driver.rings[queue].publish(*head);
            driver.kick(u32::try_from(queue).unwrap());
            assert_eq!(driver.read(0x00), 0x7472_6976, "{what}");
            recovers(&mut fixture, &mut driver);
        }
    }
}

pub(crate) fn survives_index_jumps<F: Fixture>() {
    let (mut fixture, mut driver) = ready::<F>();
    for queue in 0..driver.rings.len() {
        for jump in [257, 0x7fff, 0x8000, 0xffff] {
            driver.rings[queue].set_avail_idx(jump);
            driver.kick(u32::try_from(queue).unwrap());
            recovers(&mut fixture, &mut driver);
        }
    }
}

pub(crate) fn does_not_start_outside_of_memory<F: Fixture>() {
    let mut fixture = F::new();
    let mut driver = Driver::new(fixture.device());
    for register in [0x80, 0x90, 0xa0] {
        assert!(driver.negotiate(u64::MAX));
        driver.write(0x30, 0);
        let mut ring = super::Ring::new(&driver.memory, 0x20_0000, 16);
        ring.set_avail_idx(1);
        driver.place(&ring);
        driver.write(register + 4, 0xffff_ffff);
        driver.write(0x44, 1);
        driver.write(0x70, 15);
        driver.run();
        assert!(driver.is_lost(), "a queue outside of memory was taken");
        driver.kick(0);
    }
    recovers(&mut fixture, &mut driver);
}

pub(crate) fn ignores_wrong_accesses<F: Fixture>() {
    let (mut fixture, mut driver) = ready::<F>();
    let before = driver.transport.save();
    driver.transport.resume();
    for offset in (0..0x100).chain([0xffc, 0xfff, 0x1000, u64::MAX]) {
        for size in [1, 2, 3, 4, 8] {
            let aligned = offset % 4 == 0 && size == 4;
            let mut data = vec![0xaa; size];
            driver.transport.read(offset, &mut data);
            if offset < 0x100 && !aligned {
                assert_eq!(
                    data,
                    vec![0; size],
                    "a wrong read at {offset:#x} was answered"
                );
                let _ = driver.transport.write(offset, &vec![0xff; size]);
            }
        }
    }
    driver.run();
    let after = driver.transport.save();
    driver.transport.resume();
    assert_eq!(after.status, before.status);
    assert_eq!(after.queues, before.queues);
    fixture.use_it(&mut driver);
}

pub(crate) fn keeps_its_queues_while_it_runs<F: Fixture>() {
    let (mut fixture, mut driver) = ready::<F>();
    for queue in 0..u32::try_from(driver.rings.len()).unwrap() {
        driver.write(0x30, queue);
        for register in [0x38, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0x20] {
            driver.write(register, 0x10);
        }
        driver.write(0x44, 0);
        assert_eq!(driver.read(0x44), 1);
    }
    fixture.use_it(&mut driver);
}

/// Descriptors as a fuzzer would write them, mostly near what is valid.
fn any_descriptor() -> impl Strategy<Value = (u64, u32, u16, u16)> {
    let beyond = u64::try_from(MEMORY).unwrap() + 0x1000;
    let addr = prop_oneof![8 => 0..beyond, 1 => any::<u64>()];
    let len = prop_oneof![4 => 0_u32..128, 4 => 0_u32..0x2_0000, 1 => any::<u32>()];
    let flags = prop_oneof![8 => 0_u16..8, 1 => any::<u16>()];
    let next = prop_oneof![8 => 0_u16..16, 1 => any::<u16>()];
    (addr, len, flags, next)
}

fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    })
}

pub(crate) fn survives_random_rings<F: Fixture>() {
    let (fixture, driver) = ready::<F>();
    let both = std::cell::RefCell::new((fixture, driver));
    let descriptors = prop::collection::vec(any_descriptor(), 16);
    let heads = prop::collection::vec(prop_oneof![8 => 0_u16..16, 1 => any::<u16>()], 1..32);
    let bytes = prop::collection::vec(any::<u8>(), 512);
    let cases = (descriptors, heads, bytes, any::<u16>());
    let survived = runner().run(&cases, |(descriptors, heads, bytes, seed)| {
        let (fixture, driver) = &mut *both.borrow_mut();
        let queue = usize::from(seed) % driver.rings.len();
        for page in (0..0x4000).step_by(512) {
            driver.put(page, &bytes);
        }
        for (index, descriptor) in (0..).zip(descriptors) {
            driver.rings[queue].set_descriptor(index, descriptor);
        }
        for head in heads {
            driver.rings[queue].publish(head);
        }
        driver.kick(u32::try_from(queue).unwrap());
        recovers(fixture, driver);
        Ok(())
    });
    survived.unwrap();
}

pub(crate) fn survives_random_registers<F: Fixture>() {
    let (fixture, driver) = ready::<F>();
    let both = std::cell::RefCell::new((fixture, driver));
    let offset =
        prop_oneof![4 => (0_u64..0x44).prop_map(|i| i * 4), 1 => 0_u64..0x1000, 1 => any::<u64>()];
    let value = prop_oneof![4 => 0_u64..16, 1 => any::<u64>()];
    let access = (
        offset,
        value,
        prop_oneof![4 => Just(4_usize), 1 => 1_usize..=8],
        any::<bool>(),
    );
    let cases = prop::collection::vec(access, 1..64);
    let survived = runner().run(&cases, |accesses| {
        let (fixture, driver) = &mut *both.borrow_mut();
        for (offset, value, size, write) in accesses {
            let mut data = value.to_le_bytes();
            if write {
                let _ = driver.transport.write(offset, &data[..size]);
            } else {
                driver.transport.read(offset, &mut data[..size]);
            }
        }
        driver.run();
        recovers(fixture, driver);
        Ok(())
    });
    survived.unwrap();
}
