//! Requests one at a time.

use proptest::prelude::*;

use super::*;
use crate::block::{BlockRestoreError, DiskError, UnlikeDisk};
use crate::metrics::{Counter, Field, Value};

#[test]
fn writes_reach_the_file_and_flush_answers() {
    let raw = Raw::with(config());
    let mut driver = Driver::ready(raw.device());
    let bytes = pattern(8192, 9);
    assert_eq!(write(&mut driver, 8, &bytes), OK);
    assert_eq!(request(&mut driver, FLUSH, 0, (0, 0), false), (OK, 1));
    assert_eq!(contents(&raw.file)[4096..4096 + 8192], bytes);
}

#[test]
fn scattered_and_indirect_requests_work() {
    let raw = Raw::with(config());
    let mut driver = Driver::ready(raw.device());
    driver.put(HEADER, &[0; 16]);
    let mut buffers = vec![desc(HEADER, 8, false), desc(HEADER + 8, 8, false)];
    buffers.extend((0..32).map(|i| desc(DATA + i * 0x1000, 512, true)));
    buffers.push(desc(STATUS, 1, true));
    driver.rings[0].add_indirect(0x8000, &buffers);
    driver.kick(0);
    assert_eq!(driver.rings[0].used(), [(0, 32 * 512 + 1)]);
    assert_eq!(driver.get(STATUS, 1), [OK]);
    let expected = pattern(32 * 512, 0);
    for (index, piece) in (0..).zip(expected.chunks(512)) {
        assert_eq!(driver.get(DATA + index * 0x1000, 512), piece);
    }
}

#[test]
fn a_status_in_the_last_byte_of_the_data_buffer_is_found() {
    let raw = Raw::with(config());
    let mut driver = Driver::ready(raw.device());
    driver.put(HEADER, &[0; 16]);
    driver.put(DATA, &[0xee; 513]);
    let buffers = [desc(HEADER, 16, false), desc(DATA, 513, true)];
    assert_eq!(driver.request(0, &buffers), Some(513));
    assert_eq!(driver.get(DATA, 512), pattern(512, 0));
    assert_eq!(driver.get(DATA + 512, 1), [OK]);
}

#[test]
fn marks_what_it_reads_into_the_guest_as_dirty() {
    use vm_memory::bitmap::Bitmap;
    use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
    let raw = Raw::with(config());
    let mut driver = Driver::ready(raw.device());
    let is_dirty = |driver: &Driver, at: u64| {
        let region = driver.memory.iter().next().unwrap();
        region.bitmap().dirty_at(usize::try_from(at).unwrap())
    };
    assert!(!is_dirty(&driver, DATA + 0x1000));
    request(&mut driver, IN, 0, (DATA, 0x2000), true);
    assert!(is_dirty(&driver, DATA + 0x1000));
    assert!(!is_dirty(&driver, DATA + 0x2000));
}

#[test]
fn the_serial_number_is_read() {
    let mut driver = Driver::ready(Raw::with(config()).device());
    assert_eq!(request(&mut driver, GET_ID, 0, (DATA, 20), true), (OK, 21));
    assert_eq!(driver.get(DATA, 20), b"disk-of-the-test\0\0\0\0");
}

#[test]
fn requests_beyond_the_end_fail_and_change_nothing() {
    let raw = Raw::with(config());
    let mut driver = Driver::ready(raw.device());
    let before = contents(&raw.file);
    for sector in [2047, 2048, u64::MAX / 512, u64::MAX] {
        assert_eq!(write(&mut driver, sector, &[7; 1024]), IOERR);
        assert_eq!(
            request(&mut driver, IN, sector, (DATA, 1024), true),
            (IOERR, 1)
        );
    }
    assert_eq!(write(&mut driver, 0, &[7; 100]), IOERR, "half a sector");
    assert_eq!(contents(&raw.file), before);
}

#[test]
fn a_shrunken_file_is_an_error_and_not_zeros() {
    let raw = Raw::with(config());
    let mut driver = Driver::ready(raw.device());
    raw.file.set_len(4096).unwrap();
    assert_eq!(request(&mut driver, IN, 8, (DATA, 512), true).0, IOERR);
}

#[test]
fn data_outside_of_memory_is_an_error() {
    let mut driver = Driver::ready(Raw::with(config()).device());
    assert_eq!(request(&mut driver, IN, 0, (1 << 40, 512), true).0, IOERR);
    assert_eq!(request(&mut driver, OUT, 0, (1 << 40, 512), false).0, IOERR);
    assert!(!driver.is_lost());
}

#[test]
fn a_read_only_disk_is_not_written() {
    let original = pattern(8192, 0);
    let backing = file(&original);
    let disk = Disk::file(backing.try_clone().unwrap(), true).unwrap();
    let mut driver = Driver::ready(block(config(), disk));
    assert_ne!(driver.offered() & 1 << 5, 0, "VIRTIO_BLK_F_RO");
    assert_eq!(write(&mut driver, 0, &[7; 512]), UNSUPP);
    assert_eq!(ranges(&mut driver, DISCARD, &[(0, 8, 0)]), UNSUPP);
    assert_eq!(contents(&backing), original);
    assert_eq!(read(&mut driver, 0, 8192), original);
}

#[test]
fn unknown_requests_are_unsupported() {
    let mut driver = Driver::ready(Raw::with(config()).device());
    assert_eq!(request(&mut driver, 99, 0, (DATA, 512), true), (UNSUPP, 1));
}

#[test]
fn discarded_and_zeroed_ranges_read_as_zeros() {
    let raw = Raw::with(config());
    let mut driver = Driver::ready(raw.device());
    let mut expected = contents(&raw.file);
    assert_eq!(ranges(&mut driver, DISCARD, &[(8, 8, 0), (32, 16, 0)]), OK);
    assert_eq!(ranges(&mut driver, WRITE_ZEROES, &[(101, 3, 0)]), OK);
    assert_eq!(ranges(&mut driver, WRITE_ZEROES, &[(200, 1, 1)]), OK);
    for sectors in [8..16, 32..48, 101..104, 200..201] {
        expected[sectors.start * 512..sectors.end * 512].fill(0);
    }
    assert_eq!(contents(&raw.file), expected);
}

#[test]
fn bad_ranges_are_refused() {
    let raw = Raw::with(config());
    let mut driver = Driver::ready(raw.device());
    let before = contents(&raw.file);
    assert_eq!(ranges(&mut driver, DISCARD, &[]), IOERR);
    assert_eq!(ranges(&mut driver, DISCARD, &[(0, 1, 0); 33]), IOERR);
    assert_eq!(ranges(&mut driver, WRITE_ZEROES, &[(0, 1, 0); 2]), IOERR);
    assert_eq!(ranges(&mut driver, DISCARD, &[(2047, 2, 0)]), IOERR);
    assert_eq!(ranges(&mut driver, DISCARD, &[(u64::MAX, 2, 0)]), IOERR);
    assert_eq!(ranges(&mut driver, DISCARD, &[(0, u32::MAX, 0)]), IOERR);
    assert_eq!(ranges(&mut driver, DISCARD, &[(0, 8, 1)]), UNSUPP);
    assert_eq!(ranges(&mut driver, WRITE_ZEROES, &[(0, 8, 2)]), UNSUPP);
    assert_eq!(contents(&raw.file), before);
}

#[test]
fn the_cache_mode_is_the_drivers_choice_until_reset() {
    let mut driver = Driver::ready(Raw::with(config()).device());
    let writeback = |driver: &Driver| {
        let mut byte = [0];
        driver.transport.read(0x100 + 32, &mut byte);
        byte[0]
    };
    assert_eq!(writeback(&driver), 1);
    let _ = driver.transport.write(0x100 + 32, &[0]);
    assert_eq!(writeback(&driver), 0);
    assert_eq!(write(&mut driver, 0, &[1; 512]), OK);
    driver.start(u64::MAX);
    assert_eq!(writeback(&driver), 1);
}

#[test]
fn files_that_are_no_disks_are_refused() {
    assert!(matches!(
        Disk::file(file(&[]), false),
        Err(DiskError::Empty)
    ));
    assert!(matches!(
        Disk::file(file(&[1; 513]), false),
        Err(DiskError::Partial(513))
    ));
    assert!(matches!(Disk::parts(vec![]), Err(DiskError::Empty)));
    assert_eq!(Disk::file(file(&[1; 513]), true).unwrap().capacity(), 2);
    assert_eq!(Composed::with(config()).disk().capacity(), 16 + 8 + 8);
}

#[test]
fn another_file_is_not_taken_for_a_saved_disk() {
    let saved = block(config(), Disk::file(file(&[1; 1024]), false).unwrap()).save();
    let state = state_of(&saved);
    let other = Disk::file(file(&[1; 512]), false).unwrap();
    assert!(matches!(
        Block::restore(state, other),
        Err(BlockRestoreError::Capacity { saved: 2, given: 1 })
    ));
    let read_only = Disk::file(file(&[1; 1024]), true).unwrap();
    assert!(matches!(
        Block::restore(state, read_only),
        Err(BlockRestoreError::Unlike(UnlikeDisk::ReadOnly { .. }))
    ));
}

#[test]
fn serial_numbers_are_short_and_printable() {
    assert!(Serial::new("123456789 123456789 ").is_ok());
    assert!(Serial::new("123456789 123456789 1").is_err());
    assert!(Serial::new("a\nb").is_err());
    assert!(Serial::new("\u{fc}ber").is_err());
    let shortened = Serial::from_start_of("\u{fc}ber-a-very-long-name-of-a-disk");
    assert_eq!(shortened.to_string(), "ber-a-very-long-name");
}

#[test]
fn requests_are_counted() {
    let raw = Raw::with(config());
    let mut driver = Driver::ready(raw.device());
    write(&mut driver, 0, &[1; 1024]);
    read(&mut driver, 0, 512);
    request(&mut driver, FLUSH, 0, (0, 0), false);
    ranges(&mut driver, DISCARD, &[(8, 8, 0)]);
    write(&mut driver, 5000, &[1; 512]);
    request(&mut driver, 99, 0, (DATA, 512), true);
    let counters = counters(&driver);
    assert_eq!(
        [
            &counters.read_count,
            &counters.write_count,
            &counters.flush_count,
            &counters.discard_count,
            &counters.invalid_reqs_count,
            &counters.execute_fails,
            &counters.read_bytes,
            &counters.write_bytes,
        ]
        .map(Counter::get),
        [1, 1, 1, 1, 2, 0, 512, 1024]
    );
    assert!(matches!(
        counters.write_agg.value(),
        Value::Durations { min: 1.., .. }
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// A composed disk is one address space, wherever a request begins and ends, whoever reads it.
    #[test]
    fn composed_disks_read_like_one_file(
        lens in prop::collection::vec(0_usize..9000, 1..6),
        at in 0_u64..64,
        sectors in 1_usize..48,
        by_ring in any::<bool>(),
    ) {
        let parts: Vec<_> = lens.iter().enumerate().map(|(salt, len)| pattern(*len, salt)).collect();
        let composed = Composed { parts, config: if by_ring { ring() } else { config() } };
        let all = composed.contents();
        prop_assume!(!all.is_empty());
        let mut driver = Driver::ready(composed.device());
        let start = usize::try_from(at).unwrap() * 512;
        driver.put(DATA, &vec![0xff; sectors * 512]);
        let (status, _) = request(&mut driver, IN, at, (DATA, sectors * 512), true);
        if start + sectors * 512 <= all.len() {
            prop_assert_eq!(status, OK);
            prop_assert_eq!(driver.get(DATA, sectors * 512), &all[start..start + sectors * 512]);
        } else {
            prop_assert_eq!(status, IOERR);
        }
    }
}
