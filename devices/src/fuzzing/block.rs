//! Disks: whole files and composed ones, each by both engines.

use super::input::Input;
use super::script::{self, Host};
use crate::block::{Block, BlockConfig, CacheMode, Disk, Engine};
use crate::rate::{BucketConfig, RateConfig};
use crate::testing::Driver;
use crate::{DeviceState, VirtioDevice};

const SIZE: u64 = 1 << 20;
const KINDS: [u32; 8] = [0, 1, 4, 8, 11, 13, 14, u32::MAX];

struct Disks {
    config: BlockConfig,
    composed: bool,
    read_only: bool,
}

impl Disks {
    fn disk(&self) -> Disk {
        if self.composed {
            let sizes = [5000, 4096, 0, 100];
            return Disk::parts(sizes.into_iter().map(super::file).collect()).unwrap();
        }
        Disk::file(super::file(SIZE), self.read_only).unwrap()
    }
}

impl Host for Disks {
    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Block::new(self.config.clone(), self.disk()).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Block(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Block::restore(state, self.disk()).unwrap())
    }

    fn request(&mut self, _queue: usize, input: &mut Input<'_>) -> Vec<u8> {
        let kind = input.pick(&KINDS);
        let mut bytes = [kind, 0].map(u32::to_le_bytes).concat();
        bytes.extend(input.number().to_le_bytes());
        match kind {
            // Ranges.
            11 | 13 => {
                for _ in 0..input.u8() % 36 {
                    bytes.extend(input.number().to_le_bytes());
                    bytes.extend(input.short_number().to_le_bytes());
                    bytes.extend(u32::from(input.u8() % 4).to_le_bytes());
                }
            }
            _ => bytes.resize(
                16 + usize::from(input.u8() % 20) * 512,
                kind.to_le_bytes()[0],
            ),
        }
        bytes
    }

    fn act(&mut self, driver: &mut Driver, input: &mut Input<'_>) {
        let disk = self.disk();
        driver
            .transport
            .with_device(|block: &mut Block| match input.u8() % 4 {
                0 => drop(block.replace(disk, Box::new(drop))),
                1 => drop(block.keep()),
                2 => block.rate_control().change(&rate(input)),
                _ => drop(block.counters()),
            });
    }
}

/// A limit that is reached soon, or none.
pub(super) fn rate(input: &mut Input<'_>) -> RateConfig {
    let mut bucket = || {
        input.flip().then(|| BucketConfig {
            size: input.number(),
            one_time_burst: input.number(),
            refill_time: input.number(),
        })
    };
    RateConfig {
        bandwidth: bucket(),
        ops: bucket(),
    }
}

pub(super) fn run(input: &mut Input<'_>) {
    let how = input.u8();
    let is = |bit: u8| how & 1 << bit != 0;
    let mut disks = Disks {
        config: BlockConfig {
            engine: if is(0) { Engine::IoUring } else { Engine::Sync },
            cache: if is(1) {
                CacheMode::Unsafe
            } else {
                CacheMode::Writeback
            },
            queues: if is(2) { 3 } else { 1 },
            ..BlockConfig::default()
        },
        composed: is(3),
        read_only: is(3) || is(4),
    };
    if is(5) {
        disks.config.rate = rate(input);
    }
    script::run(&mut disks, input);
}
