//! Devices that are about memory: persistent memory, the balloon, and memory that can be plugged.

use std::sync::Arc;

use super::block::rate;
use super::input::Input;
use super::script::{self, Host};
use crate::balloon::{Balloon, BalloonConfig};
use crate::mem::{Mem, MemConfig, OneSlot};
use crate::pmem::{Mapping, Pmem, PmemConfig};
use crate::testing::{Driver, HOTPLUG, HOTPLUG_SIZE, MEMORY};
use crate::{DeviceState, VirtioDevice};

const BLOCK: u64 = 2 << 20;

struct Persistent(PmemConfig);

fn mapping() -> Arc<Mapping> {
    Arc::new(Mapping::file(super::file(1 << 20), false).unwrap())
}

impl Host for Persistent {
    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Pmem::new(self.0, mapping()).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Pmem(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Pmem::restore(state, mapping()).unwrap())
    }

    fn request(&mut self, _queue: usize, input: &mut Input<'_>) -> Vec<u8> {
        u32::from(input.u8() / 128).to_le_bytes().to_vec()
    }

    fn act(&mut self, driver: &mut Driver, input: &mut Input<'_>) {
        let limit = rate(input);
        driver
            .transport
            .with_device(|pmem: &mut Pmem| pmem.rate_control().change(&limit));
    }
}

struct Elastic(BalloonConfig);

impl Host for Elastic {
    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Balloon::new(self.0).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Balloon(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Balloon::restore(state).unwrap())
    }

    /// Page numbers, statistics, or the command of a hint.
    fn request(&mut self, _queue: usize, input: &mut Input<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let count = input.u8();
        match count % 3 {
            0 => {
                // Not the rings' pages, or little else would be found.
                let pages = u32::try_from(MEMORY / 4096).unwrap();
                for _ in 0..count / 4 {
                    let page = input.short_number();
                    let page = if page < 240 { pages - 1 - page } else { page };
                    bytes.extend(page.to_le_bytes());
                }
            }
            1 => {
                for _ in 0..count / 8 {
                    bytes.extend(u16::from(input.u8() % 20).to_le_bytes());
                    bytes.extend(input.number().to_le_bytes());
                }
            }
            _ => bytes.extend(input.short_number().to_le_bytes()),
        }
        bytes
    }

    fn act(&mut self, driver: &mut Driver, input: &mut Input<'_>) {
        driver
            .transport
            .with_device(|balloon: &mut Balloon| match input.u8() % 6 {
                0 => balloon.set_target(input.short_number()),
                1 => drop(balloon.statistics()),
                2 => drop(balloon.set_statistics_interval(u16::from(input.u8()))),
                3 => drop(balloon.start_hinting(input.flip())),
                4 => drop(balloon.stop_hinting()),
                _ => drop(balloon.hinting_status()),
            });
    }
}

struct Plugged(MemConfig);

impl Host for Plugged {
    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Mem::new(self.0, Box::new(OneSlot)).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Mem(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Mem::restore(state, Box::new(OneSlot)).unwrap())
    }

    fn request(&mut self, _queue: usize, input: &mut Input<'_>) -> Vec<u8> {
        let kind = u64::from(input.u8() % 5);
        let address = match input.u8() {
            block @ 0..=239 => HOTPLUG + u64::from(block % 20) * BLOCK,
            _ => input.u64(),
        };
        let count = input.number();
        [kind, address, count].map(u64::to_le_bytes).concat()
    }

    fn act(&mut self, driver: &mut Driver, input: &mut Input<'_>) {
        let size = match input.u8() {
            blocks @ 0..=239 => u64::from(blocks % 20) * BLOCK,
            _ => input.u64(),
        };
        driver
            .transport
            .with_device(|mem: &mut Mem| mem.set_requested_size(size));
    }
}

pub(super) fn run(input: &mut Input<'_>) {
    let how = input.u8();
    match how % 3 {
        0 => {
            let config = PmemConfig {
                address: 1 << 32,
                rate: rate(input),
            };
            script::run(&mut Persistent(config), input);
        }
        1 => {
            let config = BalloonConfig {
                target_pages: 512,
                deflate_on_oom: true,
                statistics_interval_s: if how & 128 == 0 { 3600 } else { 0 },
                free_page_hinting: how & 64 == 0,
                free_page_reporting: how & 32 == 0,
            };
            script::run(&mut Elastic(config), input);
        }
        _ => {
            let config = MemConfig {
                address: HOTPLUG,
                region_size: HOTPLUG_SIZE as u64,
                block_size: BLOCK,
                slot_size: 4 * BLOCK,
                requested_size: 8 * BLOCK,
            };
            script::run(&mut Plugged(config), input);
        }
    }
}
