//! What a driver and the VMM see of persistent memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use proptest::prelude::*;
use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::{MAPPING_ALIGN, Mapping, MappingError, Pmem, PmemConfig, PmemError, PmemRestoreError};
use crate::rate::{BucketConfig, RateConfig};
use crate::testing::{Driver, Fixture, desc, lifecycle_suite};
use crate::{DeviceState, GuestMemory, VirtioDevice};

const ADDRESS: u64 = 1 << 32;
const REQUEST: u64 = 0x1000;
const RESPONSE: u64 = 0x1100;

fn file(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i * 7 + i / 251 + salt) % 256).unwrap())
        .collect()
}

fn config() -> PmemConfig {
    PmemConfig {
        address: ADDRESS,
        rate: RateConfig::default(),
    }
}

/// The mapping as the guest's devices see it.
#[allow(unsafe_code)]
fn memory(mapping: &Mapping) -> GuestMemory {
    // SAFETY: in these tests the mapping outlives the memory, which is only borrowed for a look.
    let region = unsafe { mapping.region(GuestAddress(ADDRESS)) }.unwrap();
    GuestMemory::from_regions(vec![region]).unwrap()
}

fn contents(mapping: &Mapping) -> Vec<u8> {
    let mut bytes = vec![0xee; usize::try_from(mapping.size()).unwrap()];
    memory(mapping)
        .read_slice(&mut bytes, GuestAddress(ADDRESS))
        .unwrap();
    bytes
}

/// The result of a flush.
fn flush(driver: &mut Driver) -> u32 {
    request(driver, 0)
}

fn request(driver: &mut Driver, kind: u32) -> u32 {
    driver.put(REQUEST, &kind.to_le_bytes());
    driver.put(RESPONSE, &[0xee; 4]);
    let buffers = [desc(REQUEST, 4, false), desc(RESPONSE, 4, true)];
    assert_eq!(driver.request(0, &buffers), Some(4));
    u32::from_le_bytes(driver.get(RESPONSE, 4).try_into().unwrap())
}

struct Dax {
    file: File,
}

impl Dax {
    fn mapping(&self) -> Arc<Mapping> {
        Arc::new(Mapping::file(self.file.try_clone().unwrap(), false).unwrap())
    }
}

impl Fixture for Dax {
    fn new() -> Self {
        Self {
            file: file(&pattern(3 << 20, 0)),
        }
    }

    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Pmem::new(config(), self.mapping()).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Pmem(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Pmem::restore(state, self.mapping()).unwrap())
    }

    fn use_it(&mut self, driver: &mut Driver) {
        assert_eq!(flush(driver), 0);
    }
}

lifecycle_suite!(lifecycle, Dax);

#[test]
fn the_driver_learns_where_it_is() {
    let driver = Driver::ready(Dax::new().device());
    let field = |offset: u64| {
        u64::from(driver.read(0x100 + offset)) | u64::from(driver.read(0x104 + offset)) << 32
    };
    assert_eq!((field(0), field(8)), (ADDRESS, 4 << 20));
}

#[test]
fn what_is_written_is_in_the_file() {
    let mut dax = Dax::new();
    let mapping = dax.mapping();
    assert!(!mapping.is_read_only());
    assert!(mapping.host_address().is_multiple_of(MAPPING_ALIGN));
    memory(&mapping)
        .write_slice(b"persistent", GuestAddress(ADDRESS + 5000))
        .unwrap();
    let mut driver = Driver::ready(dax.device());
    assert_eq!(flush(&mut driver), 0);
    let mut bytes = [0; 10];
    dax.file.read_exact_at(&mut bytes, 5000).unwrap();
    assert_eq!(&bytes, b"persistent");
    // Behind the file there is memory too, which is nobody's.
    let behind = GuestAddress(ADDRESS + (3 << 20));
    memory(&mapping).write_slice(&[1; 8], behind).unwrap();
    assert_eq!(dax.file.metadata().unwrap().len(), 3 << 20);
}

#[test]
fn a_read_only_file_is_never_written() {
    let backing = file(&pattern(5000, 1));
    let mapping = Mapping::file(backing.try_clone().unwrap(), true).unwrap();
    assert!(mapping.is_read_only());
    // A hostile driver lets a device write there.
    memory(&mapping)
        .write_slice(&[0xff; 4096], GuestAddress(ADDRESS))
        .unwrap();
    mapping.sync().unwrap();
    let mut bytes = vec![0; 5000];
    backing.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, pattern(5000, 1));
}

#[test]
fn unknown_and_broken_requests_fail() {
    let mut driver = Driver::ready(Dax::new().device());
    assert_eq!(request(&mut driver, 1), 1);
    let short = [desc(REQUEST, 2, false), desc(RESPONSE, 4, true)];
    assert_eq!(driver.request(0, &short), Some(4));
    let outside = [desc(1 << 40, 4, false), desc(RESPONSE, 4, true)];
    assert_eq!(driver.request(0, &outside), Some(4));
    assert_eq!(driver.request(0, &[desc(REQUEST, 4, false)]), Some(0));
    let counters = driver
        .transport
        .with_device(|pmem: &mut Pmem| pmem.counters());
    assert_eq!(counters.unwrap().event_fails.get(), 4);
    assert_eq!(flush(&mut driver), 0);
}

#[test]
fn flushes_wait_for_their_limit() {
    let rate = RateConfig {
        bandwidth: None,
        ops: Some(BucketConfig {
            size: 1,
            one_time_burst: 0,
            refill_time: 3_600_000,
        }),
    };
    let config = PmemConfig { rate, ..config() };
    let mut driver = Driver::ready(Box::new(Pmem::new(config, Dax::new().mapping()).unwrap()));
    assert_eq!(flush(&mut driver), 0);
    let buffers = [desc(REQUEST, 4, false), desc(RESPONSE, 4, true)];
    assert_eq!(driver.request(0, &buffers), None);
    let control = driver
        .transport
        .with_device(|pmem: &mut Pmem| pmem.rate_control());
    control.unwrap().change(&RateConfig {
        bandwidth: None,
        ops: Some(BucketConfig::default()),
    });
    assert_eq!(driver.wait_for(0, 1).len(), 1);
}

#[test]
fn devices_mark_nothing_in_it_as_dirty() {
    let mapping = Dax::new().mapping();
    let memory = memory(&mapping);
    memory.write_slice(&[1; 8], GuestAddress(ADDRESS)).unwrap();
    let region = memory.iter().next().unwrap();
    assert!(!region.bitmap().dirty_at(0));
    assert_eq!(region.len(), mapping.size());
}

#[test]
fn files_that_are_no_memory_are_refused() {
    assert!(matches!(Mapping::parts(vec![]), Err(MappingError::Empty)));
    assert!(matches!(
        Mapping::file(file(&[]), false),
        Err(MappingError::Empty)
    ));
    assert!(matches!(
        Mapping::file(file(&[1; 5000]), false),
        Err(MappingError::Partial(5000))
    ));
    let huge = file(&[1]);
    huge.set_len(1 << 43).unwrap();
    let parts = (0..64).map(|_| huge.try_clone().unwrap()).collect();
    assert!(matches!(
        Mapping::parts(parts),
        Err(MappingError::Map { .. })
    ));
    let (reader, _writer) = std::io::pipe().unwrap();
    let pipe = File::from(std::os::fd::OwnedFd::from(reader));
    assert!(matches!(
        Mapping::file(pipe, true),
        Err(MappingError::Size(_))
    ));
}

#[test]
fn impossible_addresses_are_refused() {
    for address in [4096, u64::MAX - MAPPING_ALIGN + 1, u64::MAX] {
        let config = PmemConfig {
            address,
            ..config()
        };
        let made = Pmem::new(config, Dax::new().mapping());
        assert!(matches!(made, Err(PmemError::Address(_))), "{address:#x}");
    }
}

#[test]
fn other_files_are_not_taken_for_saved_ones() {
    let saved = Dax::new().device().save();
    let DeviceState::Pmem(state) = saved else {
        panic!("{saved:?}");
    };
    let small = Arc::new(Mapping::file(file(&[1; 4096]), false).unwrap());
    assert!(matches!(
        Pmem::restore(&state, small),
        Err(PmemRestoreError::Size { .. })
    ));
    let read_only = Arc::new(Mapping::file(Dax::new().file, true).unwrap());
    assert!(matches!(
        Pmem::restore(&state, read_only),
        Err(PmemRestoreError::ReadOnly { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Several files are one stretch of memory, with zeros between and behind them.
    #[test]
    fn files_in_a_row_read_like_one(lens in prop::collection::vec(0_usize..9000, 1..8)) {
        let parts: Vec<_> = lens.iter().enumerate().map(|(salt, len)| pattern(*len, salt)).collect();
        let mut all = Vec::new();
        for part in &parts {
            all.extend(part);
            all.resize(all.len().next_multiple_of(4096), 0);
        }
        prop_assume!(!all.is_empty());
        let mapping = Mapping::parts(parts.iter().map(|part| file(part)).collect()).unwrap();
        all.resize(2 << 20, 0);
        prop_assert_eq!(mapping.size(), 2 << 20);
        prop_assert!(contents(&mapping) == all);
    }
}
