//! What a driver and the VMM see of a balloon.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::{
    Balloon, BalloonConfig, BalloonCounters, BalloonError, BalloonStatistics, HINT_DONE, HINT_STOP,
    HintingStatus,
};
use crate::testing::{Driver, Fixture, MEMORY, desc, lifecycle_suite, resident_pages};
use crate::{DeviceState, VirtioDevice};

const INFLATE: usize = 0;
const DEFLATE: usize = 1;
const STATISTICS: usize = 2;
const HINTING: usize = 3;
const REPORTING: usize = 4;
const STATS_VQ: u64 = 1 << 1;
const FREE_PAGE_HINT: u64 = 1 << 3;
const PAGE_REPORTING: u64 = 1 << 5;

/// Where requests of these tests lie.
const DATA: u64 = 0x1000;
/// Pages that the guest can do without: from 1 MiB on.
const SPARE: u64 = 0x100;

fn config() -> BalloonConfig {
    BalloonConfig {
        target_pages: 512,
        deflate_on_oom: true,
        statistics_interval_s: 3600,
        free_page_hinting: true,
        free_page_reporting: true,
    }
}

fn touch(driver: &Driver, first: u64, count: u64) {
    for page in first..first + count {
        driver.put(page * 4096, &[7; 4096]);
    }
    assert_eq!(resident_pages(&driver.memory, first, count), count);
}

fn inflate(driver: &mut Driver, pages: &[u32]) -> Option<u32> {
    let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
    driver.put(DATA, &bytes);
    driver.request(INFLATE, &[desc(DATA, bytes.len(), false)])
}

fn with<R>(driver: &Driver, act: impl FnOnce(&mut Balloon) -> R) -> R {
    driver.transport.with_device(act).unwrap()
}

fn counters(driver: &Driver) -> Arc<BalloonCounters> {
    with(driver, |balloon| balloon.counters())
}

fn config_interrupts(driver: &Driver) -> usize {
    driver.interrupts.config.load(Ordering::SeqCst)
}

struct Elastic;

impl Fixture for Elastic {
    fn new() -> Self {
        Self
    }

    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Balloon::new(config()).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Balloon(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Balloon::restore(state).unwrap())
    }

    fn use_it(&mut self, driver: &mut Driver) {
        touch(driver, SPARE, 4);
        assert_eq!(inflate(driver, &[0x103, 0x102, 0x101, 0x100]), Some(0));
        assert_eq!(resident_pages(&driver.memory, SPARE, 4), 0);
        assert_eq!(driver.request(DEFLATE, &[desc(DATA, 16, false)]), Some(0));
    }
}

lifecycle_suite!(lifecycle, Elastic);

#[test]
fn inflated_pages_go_back_and_others_stay() {
    let mut driver = Driver::ready(Elastic.device());
    touch(&driver, SPARE, 8);
    assert_eq!(inflate(&mut driver, &[0x101, 0x106, 0x102]), Some(0));
    let resident: Vec<_> = (SPARE..SPARE + 8)
        .map(|page| resident_pages(&driver.memory, page, 1))
        .collect();
    assert_eq!(resident, [1, 0, 0, 1, 1, 1, 0, 1]);
    assert_eq!(counters(&driver).inflate_freed_bytes.get(), 3 * 4096);
}

#[test]
fn pages_outside_of_memory_are_counted_and_left() {
    let mut driver = Driver::ready(Elastic.device());
    let beyond = u32::try_from(MEMORY / 4096).unwrap();
    assert_eq!(inflate(&mut driver, &[beyond, u32::MAX, 0x100]), Some(0));
    let counters = counters(&driver);
    assert_eq!(counters.inflate_freed_bytes.get(), 4096);
    assert_eq!(counters.left_bytes.get(), 2 * 4096);
    assert!(!driver.is_lost());
}

#[test]
fn the_target_is_changed_while_the_guest_runs_and_the_size_is_read() {
    let driver = Driver::ready(Elastic.device());
    assert_eq!(driver.read(0x100), 512);
    let before = config_interrupts(&driver);
    with(&driver, |balloon| balloon.set_target(1000));
    assert_eq!(config_interrupts(&driver), before + 1);
    assert_eq!(driver.read(0x100), 1000);
    driver.write(0x104, 700);
    assert_eq!(with(&driver, |balloon| balloon.actual_pages()), 700);
    assert_eq!(driver.read(0x104), 700);
    assert_eq!(with(&driver, |balloon| balloon.config()).target_pages, 1000);
}

#[test]
fn a_target_that_is_set_while_the_guest_is_paused_is_told_later() {
    let driver = Driver::ready(Elastic.device());
    driver.transport.pause();
    let before = config_interrupts(&driver);
    with(&driver, |balloon| balloon.set_target(1));
    assert_eq!(config_interrupts(&driver), before);
    driver.transport.resume();
    assert!(config_interrupts(&driver) > before);
}

fn statistics(entries: &[(u16, u64)]) -> Vec<u8> {
    let entry = |(tag, value): &(u16, u64)| {
        let mut bytes = tag.to_le_bytes().to_vec();
        bytes.extend(value.to_le_bytes());
        bytes
    };
    entries.iter().flat_map(entry).collect()
}

fn offer_statistics(driver: &mut Driver, entries: &[(u16, u64)]) -> u16 {
    let bytes = statistics(entries);
    driver.put(DATA, &bytes);
    let buffer = desc(DATA, bytes.len(), false);
    let queue = u32::try_from(STATISTICS).unwrap();
    let head = driver.rings[STATISTICS].add(&[buffer]);
    driver.kick(queue);
    head
}

#[test]
fn statistics_are_read_and_asked_for_again() {
    let mut driver = Driver::ready(Elastic.device());
    let head = offer_statistics(&mut driver, &[(4, 1 << 20), (10, 3), (15, 9), (999, 1)]);
    let seen = with(&driver, |balloon| balloon.statistics()).unwrap();
    let expected = BalloonStatistics {
        free_memory: Some(1 << 20),
        oom_kill: Some(3),
        direct_reclaim: Some(9),
        ..BalloonStatistics::default()
    };
    assert_eq!(seen, expected);
    // The buffer is with the device until it wants new statistics.
    assert_eq!(driver.rings[STATISTICS].used(), []);
    with(&driver, |balloon| balloon.set_statistics_interval(1800)).unwrap();
    driver.run();
    assert_eq!(driver.rings[STATISTICS].used(), [(head, 0)]);
    offer_statistics(&mut driver, &[(4, 5)]);
    let seen = with(&driver, |balloon| balloon.statistics()).unwrap();
    assert_eq!((seen.free_memory, seen.oom_kill), (Some(5), None));
}

#[test]
fn statistics_are_asked_for_again_and_again() {
    let mut driver = Driver::ready(Elastic.device());
    offer_statistics(&mut driver, &[(4, 1)]);
    with(&driver, |balloon| balloon.set_statistics_interval(1)).unwrap();
    driver.wait_for(STATISTICS, 1);
    offer_statistics(&mut driver, &[(4, 2)]);
    driver.wait_for(STATISTICS, 1);
    let seen = with(&driver, |balloon| balloon.statistics()).unwrap();
    assert_eq!(seen.free_memory, Some(2));
}

#[test]
fn the_drivers_statistics_survive_a_restore() {
    let mut driver = Driver::ready(Elastic.device());
    offer_statistics(&mut driver, &[(5, 77)]);
    let state = driver.transport.save();
    let device = Elastic.restore(&state.device);
    let mut driver = driver.restored(&state, device);
    driver.transport.resume();
    driver.run();
    let seen = with(&driver, |balloon| balloon.statistics()).unwrap();
    assert_eq!(seen.total_memory, Some(77));
    assert_eq!(driver.rings[STATISTICS].used(), []);
}

#[test]
fn statistics_are_on_or_off_for_good() {
    let mut balloon = Balloon::new(config()).unwrap();
    assert!(matches!(
        balloon.set_statistics_interval(0),
        Err(BalloonError::StatisticsStateChange {
            was: 3600,
            wanted: 0
        })
    ));
    let mut without = Balloon::new(BalloonConfig::default()).unwrap();
    assert!(matches!(
        without.statistics(),
        Err(BalloonError::NoStatistics)
    ));
    assert!(without.set_statistics_interval(1).is_err());
    without.set_statistics_interval(0).unwrap();
    assert_eq!(without.features(), 0);
}

#[test]
fn reported_pages_go_back() {
    let mut driver = Driver::ready(Elastic.device());
    touch(&driver, SPARE, 64);
    let buffers = [
        desc(0x10_0000, 16 * 4096, true),
        desc(0x12_0000, 4096, true),
    ];
    assert_eq!(driver.request(REPORTING, &buffers), Some(0));
    assert_eq!(resident_pages(&driver.memory, SPARE, 64), 64 - 17);
    assert_eq!(counters(&driver).free_page_report_freed.get(), 17 * 4096);
}

fn hint(driver: &mut Driver, command: u32) {
    driver.put(DATA, &command.to_le_bytes());
    assert_eq!(driver.request(HINTING, &[desc(DATA, 4, false)]), Some(0));
}

#[test]
fn a_hinting_run_goes_from_start_to_done() {
    let mut driver = Driver::ready(Elastic.device());
    touch(&driver, SPARE, 16);
    let page = [desc(0x10_0000, 4096, true)];
    // Nothing was asked for.
    driver.request(HINTING, &page);
    assert_eq!(counters(&driver).free_page_hint_freed.get(), 0);
    let before = config_interrupts(&driver);
    with(&driver, |balloon| balloon.start_hinting(true)).unwrap();
    assert_eq!(config_interrupts(&driver), before + 1);
    let run = driver.read(0x108);
    assert!(run >= 2);
    // The answer to another question.
    hint(&mut driver, run + 1);
    driver.request(HINTING, &page);
    assert_eq!(counters(&driver).free_page_hint_freed.get(), 0);
    hint(&mut driver, run);
    driver.request(HINTING, &page);
    assert_eq!(counters(&driver).free_page_hint_freed.get(), 4096);
    assert_eq!(resident_pages(&driver.memory, SPARE, 16), 15);
    hint(&mut driver, HINT_STOP);
    assert_eq!(driver.read(0x108), HINT_DONE);
    let status = HintingStatus {
        host_cmd: HINT_DONE,
        guest_cmd: Some(HINT_STOP),
    };
    assert_eq!(
        with(&driver, |balloon| balloon.hinting_status()).unwrap(),
        status
    );
}

#[test]
fn a_run_without_acknowledgement_waits_for_the_host() {
    let mut driver = Driver::ready(Elastic.device());
    with(&driver, |balloon| balloon.start_hinting(false)).unwrap();
    let run = driver.read(0x108);
    hint(&mut driver, run);
    hint(&mut driver, HINT_STOP);
    assert_eq!(driver.read(0x108), run);
    with(&driver, |balloon| balloon.stop_hinting()).unwrap();
    assert_eq!(driver.read(0x108), HINT_DONE);
    with(&driver, |balloon| balloon.start_hinting(false)).unwrap();
    assert_eq!(driver.read(0x108), run + 1);
}

#[test]
fn without_hinting_there_is_no_run() {
    let mut balloon = Balloon::new(BalloonConfig::default()).unwrap();
    assert!(matches!(
        balloon.start_hinting(true),
        Err(BalloonError::NoHinting)
    ));
    assert!(matches!(
        balloon.stop_hinting(),
        Err(BalloonError::NoHinting)
    ));
    assert!(matches!(
        balloon.hinting_status(),
        Err(BalloonError::NoHinting)
    ));
}

/// Sets up only the first `count` queues, as Linux does, and announces the pages of [`SPARE`] in the last.
fn last_queue_reports(features: u64, count: usize) -> u64 {
    let mut driver = Driver::new(Elastic.device());
    assert!(driver.negotiate(features | 1 << 32));
    for index in 0..count {
        driver.write(0x30, u32::try_from(index).unwrap());
        let base = 0x20_0000 + u64::try_from(index).unwrap() * 0x1_0000;
        let ring = crate::testing::Ring::new(&driver.memory, base, 16);
        driver.place(&ring);
        driver.write(0x44, 1);
        driver.rings.push(ring);
    }
    driver.write(0x70, 15);
    touch(&driver, SPARE, 1);
    driver.request(count - 1, &[desc(0x10_0000, 4096, true)]);
    counters(&driver).free_page_report_freed.get()
}

#[test]
fn queues_without_gaps_are_understood() {
    assert_eq!(last_queue_reports(PAGE_REPORTING, 3), 4096);
    assert_eq!(last_queue_reports(PAGE_REPORTING | STATS_VQ, 4), 4096);
    assert_eq!(last_queue_reports(PAGE_REPORTING | FREE_PAGE_HINT, 4), 4096);
}

#[test]
fn queues_with_gaps_are_understood() {
    assert_eq!(last_queue_reports(PAGE_REPORTING, 5), 4096);
    assert_eq!(last_queue_reports(0, 5), 0, "reporting was not negotiated");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any numbers of pages are taken, and no page goes that was not named.
    #[test]
    fn hostile_page_numbers_hurt_only_what_they_name(
        pages in prop::collection::vec(prop_oneof![4 => 0x100_u32..0x120, 1 => 0x400_u32..u32::MAX], 0..1500),
    ) {
        let mut driver = Driver::ready(Elastic.device());
        touch(&driver, SPARE, 0x40);
        prop_assert_eq!(inflate(&mut driver, &pages), Some(0));
        for page in SPARE..SPARE + 0x40 {
            let named = pages.iter().any(|named| u64::from(*named) == page);
            prop_assert_eq!(resident_pages(&driver.memory, page, 1), u64::from(!named));
        }
    }

    /// Whatever is written into the statistics, reading them ends, and finds what is well-formed.
    #[test]
    fn hostile_statistics_are_parsed(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut with_one = statistics(&[(9, 42)]);
        with_one.extend(bytes.iter().take(9));
        prop_assert_eq!(BalloonStatistics::parse(&with_one).hugetlb_failures, Some(42));
        let whole = bytes.len() - bytes.len() % 10;
        prop_assert_eq!(BalloonStatistics::parse(&bytes), BalloonStatistics::parse(&bytes[..whole]));
    }

    /// Any commands at any time: hints count only inside of the run that was asked for.
    #[test]
    fn hostile_hinting_stays_in_its_run(commands in prop::collection::vec(0_u32..5, 0..40)) {
        let mut driver = Driver::ready(Elastic.device());
        with(&driver, |balloon| balloon.start_hinting(true)).unwrap();
        let run = driver.read(0x108);
        for command in commands {
            hint(&mut driver, command);
            let before = counters(&driver).free_page_hint_freed.get();
            driver.request(HINTING, &[desc(0x10_0000, 4096, true)]);
            let status = with(&driver, |balloon| balloon.hinting_status()).unwrap();
            let counts = status.host_cmd == run && command == run;
            prop_assert_eq!(counters(&driver).free_page_hint_freed.get() > before, counts);
        }
    }
}
