//! What a driver sees of a disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use proptest::prelude::*;

use super::{Block, BlockConfig, BlockRestoreError, CacheMode, Disk, DiskError};
use crate::testing::{Driver, Fixture, desc, lifecycle_suite};
use crate::{DeviceState, VirtioDevice};

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;
const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;

/// Where requests of these tests lie.
const HEADER: u64 = 0x1000;
const STATUS: u64 = 0x1100;
const DATA: u64 = 0x1_0000;

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn contents(file: &File) -> Vec<u8> {
    let mut file = file;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i * 7 + i / 251 + salt) % 256).unwrap())
        .collect()
}

fn config() -> BlockConfig {
    BlockConfig {
        id: "disk-of-the-test".into(),
        cache: CacheMode::Writeback,
    }
}

/// Does a request with one data buffer; its status, and the bytes that the device says it wrote.
fn request(
    driver: &mut Driver,
    kind: u32,
    sector: u64,
    data: (u64, usize),
    reads: bool,
) -> (u8, u32) {
    let mut header = kind.to_le_bytes().to_vec();
    header.extend([0; 4]);
    header.extend(sector.to_le_bytes());
    driver.put(HEADER, &header);
    driver.put(STATUS, &[0xee]);
    let mut buffers = vec![desc(HEADER, 16, false)];
    if data.1 > 0 {
        buffers.push(desc(data.0, data.1, reads));
    }
    buffers.push(desc(STATUS, 1, true));
    let written = driver.request(0, &buffers).expect("no answer");
    (driver.get(STATUS, 1)[0], written)
}

fn read(driver: &mut Driver, sector: u64, len: usize) -> Vec<u8> {
    let expected = u32::try_from(len).unwrap() + 1;
    assert_eq!(
        request(driver, IN, sector, (DATA, len), true),
        (OK, expected)
    );
    driver.get(DATA, len)
}

fn write(driver: &mut Driver, sector: u64, bytes: &[u8]) -> u8 {
    driver.put(DATA, bytes);
    request(driver, OUT, sector, (DATA, bytes.len()), false).0
}

struct Raw(File);

impl Fixture for Raw {
    fn new() -> Self {
        Self(file(&pattern(1 << 20, 0)))
    }

    fn device(&mut self) -> Box<dyn VirtioDevice> {
        let disk = Disk::file(self.0.try_clone().unwrap(), false).unwrap();
        Box::new(Block::new(config(), disk))
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Block(state) = state else {
            panic!("{state:?}");
        };
        let disk = Disk::file(self.0.try_clone().unwrap(), false).unwrap();
        Box::new(Block::restore(state, disk).unwrap())
    }

    fn use_it(&mut self, driver: &mut Driver) {
        let bytes = pattern(4096, 3);
        assert_eq!(write(driver, 16, &bytes), OK);
        assert_eq!(read(driver, 16, 4096), bytes);
    }
}

struct Composed(Vec<Vec<u8>>);

impl Composed {
    fn disk(&self) -> Disk {
        Disk::parts(self.0.iter().map(|part| file(part)).collect()).unwrap()
    }
}

impl Fixture for Composed {
    fn new() -> Self {
        Self(vec![
            pattern(5000, 1),
            pattern(4096, 2),
            Vec::new(),
            pattern(100, 3),
        ])
    }

    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Block::new(config(), self.disk()))
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Block(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Block::restore(state, self.disk()).unwrap())
    }

    fn use_it(&mut self, driver: &mut Driver) {
        let mut all = Vec::new();
        for part in &self.0 {
            all.extend(part);
            all.resize(all.len().next_multiple_of(4096), 0);
        }
        // What was in the buffer must not shine through the padding.
        driver.put(DATA, &vec![0xff; all.len()]);
        assert_eq!(read(driver, 0, all.len()), all);
    }
}

lifecycle_suite!(raw_lifecycle, Raw);
lifecycle_suite!(composed_lifecycle, Composed);

#[test]
fn writes_reach_the_file_and_flush_answers() {
    let mut fixture = Raw::new();
    let mut driver = Driver::ready(fixture.device());
    let bytes = pattern(8192, 9);
    assert_eq!(write(&mut driver, 8, &bytes), OK);
    assert_eq!(request(&mut driver, FLUSH, 0, (0, 0), false), (OK, 1));
    assert_eq!(contents(&fixture.0)[4096..4096 + 8192], bytes);
}

#[test]
fn scattered_and_indirect_requests_work() {
    let mut fixture = Raw::new();
    let mut driver = Driver::ready(fixture.device());
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
    let mut fixture = Raw::new();
    let mut driver = Driver::ready(fixture.device());
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
    let mut fixture = Raw::new();
    let mut driver = Driver::ready(fixture.device());
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
    let mut driver = Driver::ready(Raw::new().device());
    assert_eq!(request(&mut driver, GET_ID, 0, (DATA, 20), true), (OK, 21));
    assert_eq!(driver.get(DATA, 20), b"disk-of-the-test\0\0\0\0");
}

#[test]
fn requests_beyond_the_end_fail_and_change_nothing() {
    let mut fixture = Raw::new();
    let mut driver = Driver::ready(fixture.device());
    let before = contents(&fixture.0);
    for sector in [2047, 2048, u64::MAX / 512, u64::MAX] {
        assert_eq!(write(&mut driver, sector, &[7; 1024]), IOERR);
        assert_eq!(
            request(&mut driver, IN, sector, (DATA, 1024), true),
            (IOERR, 1)
        );
    }
    assert_eq!(write(&mut driver, 0, &[7; 100]), IOERR, "half a sector");
    assert_eq!(contents(&fixture.0), before);
}

#[test]
fn a_shrunken_file_is_an_error_and_not_zeros() {
    let mut fixture = Raw::new();
    let mut driver = Driver::ready(fixture.device());
    fixture.0.set_len(4096).unwrap();
    assert_eq!(request(&mut driver, IN, 8, (DATA, 512), true).0, IOERR);
}

#[test]
fn data_outside_of_memory_is_an_error() {
    let mut driver = Driver::ready(Raw::new().device());
    assert_eq!(request(&mut driver, IN, 0, (1 << 40, 512), true).0, IOERR);
    assert_eq!(request(&mut driver, OUT, 0, (1 << 40, 512), false).0, IOERR);
    assert!(!driver.is_lost());
}

#[test]
fn a_read_only_disk_is_not_written() {
    let original = pattern(8192, 0);
    let backing = file(&original);
    let disk = Disk::file(backing.try_clone().unwrap(), true).unwrap();
    let mut driver = Driver::ready(Box::new(Block::new(config(), disk)));
    assert_ne!(driver.offered() & 1 << 5, 0, "VIRTIO_BLK_F_RO");
    assert_eq!(write(&mut driver, 0, &[7; 512]), UNSUPP);
    assert_eq!(ranges(&mut driver, DISCARD, &[(0, 8, 0)]), UNSUPP);
    assert_eq!(contents(&backing), original);
    assert_eq!(read(&mut driver, 0, 8192), original);
}

#[test]
fn unknown_requests_are_unsupported() {
    let mut driver = Driver::ready(Raw::new().device());
    assert_eq!(request(&mut driver, 99, 0, (DATA, 512), true), (UNSUPP, 1));
}

/// Does a discard or write-zeroes request.
fn ranges(driver: &mut Driver, kind: u32, ranges: &[(u64, u32, u32)]) -> u8 {
    let mut bytes = Vec::new();
    for (sector, sectors, flags) in ranges {
        bytes.extend(sector.to_le_bytes());
        bytes.extend(sectors.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
    }
    driver.put(DATA, &bytes);
    request(driver, kind, 0, (DATA, bytes.len()), false).0
}

#[test]
fn discarded_and_zeroed_ranges_read_as_zeros() {
    let mut fixture = Raw::new();
    let mut driver = Driver::ready(fixture.device());
    let mut expected = contents(&fixture.0);
    assert_eq!(ranges(&mut driver, DISCARD, &[(8, 8, 0), (32, 16, 0)]), OK);
    assert_eq!(ranges(&mut driver, WRITE_ZEROES, &[(101, 3, 0)]), OK);
    assert_eq!(ranges(&mut driver, WRITE_ZEROES, &[(200, 1, 1)]), OK);
    for sectors in [8..16, 32..48, 101..104, 200..201] {
        expected[sectors.start * 512..sectors.end * 512].fill(0);
    }
    assert_eq!(contents(&fixture.0), expected);
}

#[test]
fn bad_ranges_are_refused() {
    let mut fixture = Raw::new();
    let mut driver = Driver::ready(fixture.device());
    let before = contents(&fixture.0);
    assert_eq!(ranges(&mut driver, DISCARD, &[]), IOERR);
    assert_eq!(ranges(&mut driver, DISCARD, &[(0, 1, 0); 33]), IOERR);
    assert_eq!(ranges(&mut driver, WRITE_ZEROES, &[(0, 1, 0); 2]), IOERR);
    assert_eq!(ranges(&mut driver, DISCARD, &[(2047, 2, 0)]), IOERR);
    assert_eq!(ranges(&mut driver, DISCARD, &[(u64::MAX, 2, 0)]), IOERR);
    assert_eq!(ranges(&mut driver, DISCARD, &[(0, u32::MAX, 0)]), IOERR);
    assert_eq!(ranges(&mut driver, DISCARD, &[(0, 8, 1)]), UNSUPP);
    assert_eq!(ranges(&mut driver, WRITE_ZEROES, &[(0, 8, 2)]), UNSUPP);
    assert_eq!(contents(&fixture.0), before);
}

#[test]
fn the_cache_mode_is_the_drivers_choice_until_reset() {
    let mut driver = Driver::ready(Raw::new().device());
    let writeback = |driver: &Driver| {
        let mut byte = [0];
        driver.transport.read(0x100 + 32, &mut byte);
        byte[0]
    };
    assert_eq!(writeback(&driver), 1);
    driver.transport.write(0x100 + 32, &[0]);
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
    assert_eq!(Composed::new().disk().capacity(), 16 + 8 + 8);
}

#[test]
fn another_file_is_not_taken_for_a_saved_disk() {
    let block = Block::new(config(), Disk::file(file(&[1; 1024]), false).unwrap());
    let DeviceState::Block(state) = block.save() else {
        panic!("not the state of a disk");
    };
    let other = Disk::file(file(&[1; 512]), false).unwrap();
    assert!(matches!(
        Block::restore(&state, other),
        Err(BlockRestoreError::Capacity { saved: 2, given: 1 })
    ));
    let read_only = Disk::file(file(&[1; 1024]), true).unwrap();
    assert!(matches!(
        Block::restore(&state, read_only),
        Err(BlockRestoreError::ReadOnly { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// A composed disk is one address space, wherever a request begins and ends.
    #[test]
    fn composed_disks_read_like_one_file(
        lens in prop::collection::vec(0_usize..9000, 1..6),
        at in 0_u64..64,
        sectors in 1_usize..48,
    ) {
        let parts: Vec<_> = lens.iter().enumerate().map(|(salt, len)| pattern(*len, salt)).collect();
        let mut all = Vec::new();
        for part in &parts {
            all.extend(part);
            all.resize(all.len().next_multiple_of(4096), 0);
        }
        prop_assume!(!all.is_empty());
        let disk = Composed(parts).disk();
        let mut driver = Driver::ready(Box::new(Block::new(config(), disk)));
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
