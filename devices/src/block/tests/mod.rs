//! What a driver sees of a disk.

mod changes;
mod direct;
mod engines;
mod limits;
mod requests;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::{Block, BlockConfig, BlockCounters, BlockState, Disk, Engine, ReplaceError, Serial};
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
        serial: Serial::new("disk-of-the-test").unwrap(),
        ..BlockConfig::default()
    }
}

/// The same by io_uring, and with more queues.
fn ring() -> BlockConfig {
    BlockConfig {
        engine: Engine::IoUring,
        queues: 3,
        ..config()
    }
}

fn block(config: BlockConfig, disk: Disk) -> Box<dyn VirtioDevice> {
    Box::new(Block::new(config, disk).unwrap())
}

fn with<R>(driver: &Driver, act: impl FnOnce(&mut Block) -> R) -> R {
    driver.transport.with_device(act).unwrap()
}

/// Puts other contents in the place of those that are there, which come back.
fn replace(driver: &Driver, disk: Disk) -> Result<Option<Arc<Disk>>, ReplaceError> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let told = Box::new(move |result| sender.send(result).unwrap());
    let old = with(driver, |block| block.replace(disk, told));
    receiver.try_recv().unwrap().map(|()| old)
}

fn counters(driver: &Driver) -> Arc<BlockCounters> {
    with(driver, |block| block.counters())
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
    let written = driver.request_and_wait(0, &buffers);
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

struct Raw {
    file: File,
    config: BlockConfig,
}

impl Raw {
    fn with(config: BlockConfig) -> Self {
        let file = file(&pattern(1 << 20, 0));
        Self { file, config }
    }

    fn disk(&self) -> Disk {
        Disk::file(self.file.try_clone().unwrap(), false).unwrap()
    }

    fn device(&self) -> Box<dyn VirtioDevice> {
        block(self.config.clone(), self.disk())
    }
}

fn use_raw(driver: &mut Driver) {
    let bytes = pattern(4096, 3);
    assert_eq!(write(driver, 16, &bytes), OK);
    assert_eq!(read(driver, 16, 4096), bytes);
}

struct Composed {
    parts: Vec<Vec<u8>>,
    config: BlockConfig,
}

impl Composed {
    fn with(config: BlockConfig) -> Self {
        let parts = vec![
            pattern(5000, 1),
            pattern(4096, 2),
            Vec::new(),
            pattern(100, 3),
        ];
        Self { parts, config }
    }

    fn disk(&self) -> Disk {
        Disk::parts(self.parts.iter().map(|part| file(part)).collect()).unwrap()
    }

    fn device(&self) -> Box<dyn VirtioDevice> {
        block(self.config.clone(), self.disk())
    }

    /// What the disk should read as.
    fn contents(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(part);
            all.resize(all.len().next_multiple_of(4096), 0);
        }
        all
    }

    fn use_it(&self, driver: &mut Driver) {
        let all = self.contents();
        // What was in the buffer must not shine through the padding.
        driver.put(DATA, &vec![0xff; all.len()]);
        assert_eq!(read(driver, 0, all.len()), all);
    }
}

fn state_of(state: &DeviceState) -> &BlockState {
    match state {
        DeviceState::Block(state) => state,
        other => panic!("{other:?}"),
    }
}

macro_rules! fixture {
    ($name:ident, $disk:ident, $config:expr, |$fixture:ident, $driver:ident| $use_it:expr) => {
        struct $name($disk);

        impl Fixture for $name {
            fn new() -> Self {
                Self($disk::with($config))
            }

            fn device(&mut self) -> Box<dyn VirtioDevice> {
                self.0.device()
            }

            fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
                Box::new(Block::restore(state_of(state), self.0.disk()).unwrap())
            }

            fn use_it(&mut self, $driver: &mut Driver) {
                let $fixture = &self.0;
                $use_it
            }
        }
    };
}

fixture!(RawSync, Raw, config(), |_raw, driver| use_raw(driver));
fixture!(RawRing, Raw, ring(), |_raw, driver| use_raw(driver));
fixture!(ComposedSync, Composed, config(), |parts, driver| parts
    .use_it(driver));
fixture!(ComposedRing, Composed, ring(), |parts, driver| parts
    .use_it(driver));

lifecycle_suite!(raw_lifecycle, RawSync);
lifecycle_suite!(raw_ring_lifecycle, RawRing);
lifecycle_suite!(composed_lifecycle, ComposedSync);
lifecycle_suite!(composed_ring_lifecycle, ComposedRing);
