//! What a driver and the VMM see of memory that can be plugged.

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::{Mem, MemConfig, MemConfigError, MemRestoreError, OneSlot, Slots};
use crate::testing::{
    Driver, Fixture, HOTPLUG, HOTPLUG_SIZE, desc, lifecycle_suite, resident_pages,
};
use crate::{DeviceState, VirtioDevice};

const PLUG: u16 = 0;
const UNPLUG: u16 = 1;
const UNPLUG_ALL: u16 = 2;
const STATE: u16 = 3;
const ACK: u16 = 0;
const NACK: u16 = 1;
const BUSY: u16 = 2;
const ERROR: u16 = 3;

const BLOCK: u64 = 2 << 20;
const BLOCKS: u64 = HOTPLUG_SIZE as u64 / BLOCK;
const REQUEST: u64 = 0x1000;
const RESPONSE: u64 = 0x1100;

fn config() -> MemConfig {
    MemConfig {
        address: HOTPLUG,
        region_size: BLOCKS * BLOCK,
        block_size: BLOCK,
        slot_size: 4 * BLOCK,
        requested_size: 8 * BLOCK,
    }
}

/// The response's type and state.
fn request(driver: &mut Driver, kind: u16, block: u64, count: u16) -> (u16, u16) {
    request_at(driver, kind, HOTPLUG + block * BLOCK, count)
}

fn request_at(driver: &mut Driver, kind: u16, address: u64, count: u16) -> (u16, u16) {
    let mut bytes = u64::from(kind).to_le_bytes().to_vec();
    bytes.extend(address.to_le_bytes());
    bytes.extend(u64::from(count).to_le_bytes());
    driver.put(REQUEST, &bytes);
    let buffers = [desc(REQUEST, 24, false), desc(RESPONSE, 10, true)];
    assert_eq!(driver.request(0, &buffers), Some(10));
    let response = driver.get(RESPONSE, 10);
    let half = |at: usize| u16::from_le_bytes([response[at], response[at + 1]]);
    (half(0), half(8))
}

fn with<R>(driver: &Driver, act: impl FnOnce(&mut Mem) -> R) -> R {
    driver.transport.with_device(act).unwrap()
}

fn plugged(driver: &Driver) -> u64 {
    with(driver, |mem| mem.status()).plugged_size / BLOCK
}

fn field(driver: &Driver, offset: u64) -> u64 {
    u64::from(driver.read(0x100 + offset)) | u64::from(driver.read(0x104 + offset)) << 32
}

struct Hotplug;

impl Fixture for Hotplug {
    fn new() -> Self {
        Self
    }

    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Mem::new(config(), Box::new(OneSlot)).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Mem(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Mem::restore(state, Box::new(OneSlot)).unwrap())
    }

    fn use_it(&mut self, driver: &mut Driver) {
        assert_eq!(request(driver, UNPLUG_ALL, 0, 0).0, ACK);
        assert_eq!(request(driver, PLUG, 2, 3).0, ACK);
        assert_eq!(plugged(driver), 3);
        driver.put(HOTPLUG + 2 * BLOCK, &[1; 4096]);
        assert_eq!(request(driver, UNPLUG, 2, 3).0, ACK);
        assert_eq!(plugged(driver), 0);
    }
}

lifecycle_suite!(lifecycle, Hotplug);

#[test]
fn the_configuration_space_follows() {
    let mut driver = Driver::ready(Hotplug.device());
    let fields = [0, 16, 24, 32, 40, 48].map(|offset| field(&driver, offset));
    let region = BLOCKS * BLOCK;
    assert_eq!(fields, [BLOCK, HOTPLUG, region, region, 0, 8 * BLOCK]);
    request(&mut driver, PLUG, 0, 2);
    assert_eq!(field(&driver, 40), 2 * BLOCK);
}

#[test]
fn no_more_is_plugged_than_requested() {
    let mut driver = Driver::ready(Hotplug.device());
    assert_eq!(request(&mut driver, PLUG, 0, 9).0, NACK);
    assert_eq!(request(&mut driver, PLUG, 0, 8).0, ACK);
    assert_eq!(request(&mut driver, PLUG, 8, 1).0, NACK);
    let before = driver.interrupts.config.load(Ordering::SeqCst);
    with(&driver, |mem| mem.set_requested_size(9 * BLOCK)).unwrap();
    assert_eq!(driver.interrupts.config.load(Ordering::SeqCst), before + 1);
    assert_eq!(field(&driver, 48), 9 * BLOCK);
    assert_eq!(request(&mut driver, PLUG, 8, 1).0, ACK);
    with(&driver, |mem| mem.set_requested_size(0)).unwrap();
    assert_eq!(
        plugged(&driver),
        9,
        "the guest keeps what it has until it unplugs it"
    );
    assert_eq!(request(&mut driver, PLUG, 9, 1).0, NACK);
    let too_much = with(&driver, |mem| mem.set_requested_size((BLOCKS + 1) * BLOCK));
    assert!(matches!(too_much, Err(MemConfigError::Requested { .. })));
}

#[test]
fn unplugged_memory_goes_back_and_reads_as_zeros() {
    let mut driver = Driver::ready(Hotplug.device());
    assert_eq!(request(&mut driver, PLUG, 0, 4).0, ACK);
    let page = HOTPLUG / 4096;
    for block in 0..4 {
        driver.put(HOTPLUG + block * BLOCK, &[7; 8192]);
    }
    assert_eq!(resident_pages(&driver.memory, page, 2), 2);
    assert_eq!(request(&mut driver, UNPLUG, 0, 2).0, ACK);
    assert_eq!(resident_pages(&driver.memory, page, 1024), 0);
    assert!(resident_pages(&driver.memory, page + 1024, 2) == 2);
    assert_eq!(driver.get(HOTPLUG, 4096), [0; 4096]);
    assert_eq!(request(&mut driver, UNPLUG_ALL, 0, 0).0, ACK);
    assert_eq!(plugged(&driver), 0);
    assert_eq!(resident_pages(&driver.memory, page + 1024, 1024), 0);
    assert_eq!(
        with(&driver, |mem| mem.counters()).returned_bytes.get(),
        4 * BLOCK
    );
}

#[test]
fn states_are_told() {
    let mut driver = Driver::ready(Hotplug.device());
    assert_eq!(request(&mut driver, PLUG, 1, 2).0, ACK);
    assert_eq!(request(&mut driver, STATE, 1, 2), (ACK, 0));
    assert_eq!(request(&mut driver, STATE, 3, 4), (ACK, 1));
    assert_eq!(request(&mut driver, STATE, 0, 4), (ACK, 2));
}

#[test]
fn wrong_requests_are_errors() {
    let mut driver = Driver::ready(Hotplug.device());
    assert_eq!(request(&mut driver, PLUG, 1, 2).0, ACK);
    let last = u16::try_from(BLOCKS).unwrap();
    let wrong = [
        (PLUG, HOTPLUG, 0),
        (PLUG, HOTPLUG + 1, 1),
        (PLUG, HOTPLUG - BLOCK, 1),
        (PLUG, HOTPLUG + BLOCK, 1),
        (PLUG, HOTPLUG, 2),
        (PLUG, HOTPLUG, last + 1),
        (PLUG, !(BLOCK - 1), u16::MAX),
        (UNPLUG, HOTPLUG, 1),
        (UNPLUG, HOTPLUG, 2),
        (UNPLUG, 0, 1),
        (STATE, HOTPLUG, last + 1),
        (STATE, u64::MAX, 1),
        (99, HOTPLUG, 1),
    ];
    for (kind, address, count) in wrong {
        assert_eq!(
            request_at(&mut driver, kind, address, count).0,
            ERROR,
            "{kind} {address:#x}"
        );
    }
    assert_eq!(plugged(&driver), 2);
}

#[test]
fn a_reset_unplugs_nothing() {
    let mut driver = Driver::ready(Hotplug.device());
    request(&mut driver, PLUG, 1, 2);
    driver.start(u64::MAX);
    assert_eq!(plugged(&driver), 2);
}

/// A slot's number and guest physical addresses.
type Slot = (usize, Range<u64>);

/// Slots that remember what is shown, and refuse one.
#[derive(Clone, Debug, Default)]
struct Shown {
    shown: Arc<Mutex<Vec<Slot>>>,
    refuse: Option<usize>,
}

impl Slots for Shown {
    fn show(&mut self, index: usize, range: Range<u64>) -> io::Result<()> {
        if self.refuse == Some(index) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.shown.lock().unwrap().push((index, range));
        Ok(())
    }

    fn hide(&mut self, index: usize, range: Range<u64>) -> io::Result<()> {
        let mut shown = self.shown.lock().unwrap();
        let place = shown
            .iter()
            .position(|slot| *slot == (index, range.clone()));
        shown.remove(place.expect("it was not shown"));
        Ok(())
    }
}

impl Shown {
    fn indices(&self) -> Vec<usize> {
        self.shown
            .lock()
            .unwrap()
            .iter()
            .map(|slot| slot.0)
            .collect()
    }
}

#[test]
fn slots_are_shown_while_something_in_them_is_plugged() {
    let slots = Shown::default();
    let mem = Mem::new(config(), Box::new(slots.clone())).unwrap();
    let mut driver = Driver::ready(Box::new(mem));
    assert_eq!(request(&mut driver, PLUG, 3, 2).0, ACK);
    assert_eq!(slots.indices(), [0, 1]);
    let second = HOTPLUG + 4 * BLOCK..HOTPLUG + 8 * BLOCK;
    assert_eq!(slots.shown.lock().unwrap()[1], (1, second));
    assert_eq!(request(&mut driver, PLUG, 5, 1).0, ACK);
    assert_eq!(request(&mut driver, UNPLUG, 4, 1).0, ACK);
    assert_eq!(slots.indices(), [0, 1]);
    assert_eq!(request(&mut driver, UNPLUG, 5, 1).0, ACK);
    assert_eq!(slots.indices(), [0]);
    let state = driver.transport.save();
    let DeviceState::Mem(state) = state.device else {
        panic!("not the state of this device");
    };
    let again = Shown::default();
    Mem::restore(&state, Box::new(again.clone())).unwrap();
    assert_eq!(again.indices(), [0]);
    let refusing = Shown {
        refuse: Some(0),
        ..Shown::default()
    };
    assert!(matches!(
        Mem::restore(&state, Box::new(refusing)),
        Err(MemRestoreError::Slot { index: 0, .. })
    ));
}

#[test]
fn a_slot_that_cant_be_shown_means_try_later() {
    let slots = Shown {
        refuse: Some(1),
        ..Shown::default()
    };
    let mem = Mem::new(config(), Box::new(slots.clone())).unwrap();
    let mut driver = Driver::ready(Box::new(mem));
    assert_eq!(request(&mut driver, PLUG, 3, 2).0, BUSY);
    assert_eq!(plugged(&driver), 0);
    assert_eq!(slots.indices(), Vec::<usize>::new());
    assert_eq!(request(&mut driver, PLUG, 3, 1).0, ACK);
    assert_eq!(slots.indices(), [0]);
}

#[test]
fn numbers_that_dont_fit_together_are_refused() {
    let bad = [
        MemConfig {
            block_size: 3 << 20,
            ..config()
        },
        MemConfig {
            block_size: 1 << 20,
            ..config()
        },
        MemConfig {
            block_size: 0,
            ..config()
        },
        MemConfig {
            slot_size: 0,
            ..config()
        },
        MemConfig {
            slot_size: BLOCK + 1,
            ..config()
        },
        MemConfig {
            region_size: 0,
            ..config()
        },
        MemConfig {
            region_size: 5 * BLOCK,
            ..config()
        },
        MemConfig {
            region_size: 1 << 60,
            ..config()
        },
        MemConfig {
            address: HOTPLUG + 1,
            ..config()
        },
        MemConfig {
            address: !(BLOCK - 1),
            ..config()
        },
        MemConfig {
            requested_size: 1,
            ..config()
        },
        MemConfig {
            requested_size: !(BLOCK - 1),
            ..config()
        },
    ];
    for config in bad {
        assert!(Mem::new(config, Box::new(OneSlot)).is_err(), "{config:?}");
    }
}

#[test]
fn tampered_states_are_refused() {
    let mem = Mem::new(config(), Box::new(OneSlot)).unwrap();
    let DeviceState::Mem(good) = mem.save() else {
        panic!("not the state of this device");
    };
    for words in [vec![], vec![0, 0], vec![1 << BLOCKS]] {
        let state = super::MemState {
            plugged: words,
            ..good.clone()
        };
        assert!(Mem::restore(&state, Box::new(OneSlot)).is_err());
    }
    let mut state = good;
    state.config.block_size = 0;
    assert!(Mem::restore(&state, Box::new(OneSlot)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked, never more is plugged than requested, and a model of one flag per block agrees.
    #[test]
    fn plugging_follows_the_model(
        requests in prop::collection::vec((0_u16..5, 0_u64..20, 0_u16..20), 0..40),
    ) {
        let slots = Shown::default();
        let mem = Mem::new(config(), Box::new(slots.clone())).unwrap();
        let mut driver = Driver::ready(Box::new(mem));
        let mut model = vec![false; usize::try_from(BLOCKS).unwrap()];
        for (kind, block, count) in requests {
            let (answer, _) = request(&mut driver, kind, block, count);
            let first = usize::try_from(block).unwrap();
            if answer == ACK && kind == UNPLUG_ALL {
                model.fill(false);
            } else if answer == ACK && kind != STATE {
                let blocks = &mut model[first..first + usize::from(count)];
                prop_assert!(blocks.iter().all(|plugged| *plugged == (kind == UNPLUG)));
                blocks.fill(kind == PLUG);
            }
            let count = u64::try_from(model.iter().filter(|plugged| **plugged).count()).unwrap();
            prop_assert_eq!(plugged(&driver), count);
            prop_assert!(count <= 8);
            let mut shown = slots.indices();
            shown.sort_unstable();
            let expected: Vec<_> = (0..model.len() / 4).filter(|i| model[i * 4..i * 4 + 4].contains(&true)).collect();
            prop_assert_eq!(shown, expected);
        }
    }
}
