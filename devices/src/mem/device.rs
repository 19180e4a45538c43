//! The behaviour of virtio-mem.

use std::ops::Range;

use super::blocks::Blocks;
use super::config::{MemConfig, MemConfigError, UNPLUGGED_INACCESSIBLE};
use super::request::{BlocksState, REQUEST, Request, Response, Target};
use super::slots::Slots;
use super::state::{MemRestoreError, MemState};
use crate::device::{DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice};
use crate::iov::Span;
use crate::reclaim::{self, Ranges};
use crate::worker::{self, Outcome, Worker};
use crate::{Chain, GuestMemory, QueueState};

const QUEUES: &[u16] = &[128];

/// How much there is, as Firecracker's API has it; in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemStatus {
    /// What the device was made with, and how much is requested now.
    pub config: MemConfig,
    /// How much the guest has plugged.
    pub plugged_size: u64,
}

/// What the device did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MemCounters {
    /// Requests to plug that were granted.
    pub plugs: u64,
    /// Requests to unplug that were granted, those to unplug all included.
    pub unplugs: u64,
    /// Requests that were refused or could not be understood.
    pub refused: u64,
    /// Bytes that went back to the host.
    pub returned_bytes: u64,
    /// Calls that the host's kernel or the VMM refused.
    pub failures: u64,
}

/// Memory that can be plugged.
#[derive(Debug)]
pub struct Mem {
    worker: Worker,
    region: Region,
}

/// The device without its queue.
#[derive(Debug)]
struct Region {
    config: MemConfig,
    blocks: Blocks,
    slots: Box<dyn Slots>,
    /// Which slots are shown.
    shown: Vec<bool>,
    ranges: Ranges,
    counters: MemCounters,
}

impl Mem {
    /// A region with nothing plugged.
    ///
    /// # Errors
    /// [`MemConfigError`] if the numbers don't fit together.
    pub fn new(config: MemConfig, slots: Box<dyn Slots>) -> Result<Self, MemConfigError> {
        config.check()?;
        let blocks = Blocks::new(config.blocks());
        Ok(Self::with(config, blocks, slots))
    }

    /// A region as it was saved. Slots with plugged blocks are shown.
    ///
    /// # Errors
    /// [`MemRestoreError`] if the state makes no sense, or a slot can't be shown.
    pub fn restore(state: &MemState, slots: Box<dyn Slots>) -> Result<Self, MemRestoreError> {
        let config = state.config;
        config.check()?;
        let blocks =
            Blocks::from_words(&state.plugged, config.blocks()).ok_or(MemRestoreError::Blocks {
                blocks: config.blocks(),
                bits: state.plugged.len().saturating_mul(64),
            })?;
        let mut mem = Self::with(config, blocks, slots);
        let region = &mut mem.region;
        for index in 0..region.shown.len() {
            if region.blocks.plugged_in(&region.slot(index)) > 0 {
                region
                    .show(index)
                    .map_err(|source| MemRestoreError::Slot { index, source })?;
            }
        }
        Ok(mem)
    }

    fn with(config: MemConfig, blocks: Blocks, slots: Box<dyn Slots>) -> Self {
        let count = config.blocks() / config.blocks_in_slot();
        Self {
            worker: Worker::default(),
            region: Region {
                config,
                blocks,
                slots,
                shown: vec![false; count],
                ranges: Ranges::default(),
                counters: MemCounters::default(),
            },
        }
    }

    /// Asks the guest to have so many bytes plugged. It takes its time, and may not manage to unplug what it uses.
    ///
    /// # Errors
    /// [`MemConfigError::Requested`] if it is no number of blocks, or more than there are.
    pub fn set_requested_size(&mut self, bytes: u64) -> Result<(), MemConfigError> {
        self.region.config.check_requested(bytes)?;
        self.region.config.requested_size = bytes;
        self.worker.config_changed();
        Ok(())
    }

    /// How much there is.
    #[must_use]
    pub fn status(&self) -> MemStatus {
        MemStatus {
            config: self.region.config,
            plugged_size: self.region.plugged_size(),
        }
    }

    /// What the device did.
    #[must_use]
    pub fn counters(&self) -> MemCounters {
        self.region.counters
    }
}

impl Region {
    fn plugged_size(&self) -> u64 {
        let plugged = u64::try_from(self.blocks.plugged()).unwrap_or(u64::MAX);
        plugged.saturating_mul(self.config.block_size)
    }

    /// The blocks of a slot.
    fn slot(&self, index: usize) -> Range<usize> {
        let len = self.config.blocks_in_slot();
        index * len..(index + 1) * len
    }

    /// The slots that some blocks are in.
    fn slots_of(&self, blocks: &Range<usize>) -> Range<usize> {
        let len = self.config.blocks_in_slot();
        blocks.start / len..blocks.end.div_ceil(len)
    }

    fn serve(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        let mut bytes = [0; REQUEST];
        let read = Span::all(memory, chain.readable()).copy_out(&mut bytes);
        let request = read
            .ok()
            .and_then(|count| Request::parse(bytes.get(..count)?));
        let response = match request {
            Some(Request::Plug(target)) => self.plug(target),
            Some(Request::Unplug(target)) => self.unplug(memory, target),
            Some(Request::UnplugAll) => self.unplug_all(memory),
            Some(Request::State(target)) => self.state(target),
            None => Response::Error,
        };
        if !matches!(response, Response::Ack | Response::State(_)) {
            self.counters.refused += 1;
        }
        let answer = Span::all(memory, chain.writable()).copy_in(&response.bytes());
        Outcome::Used(answer.map_or(0, worker::written))
    }

    fn plug(&mut self, target: Target) -> Response {
        let Some(blocks) = target.blocks(&self.config) else {
            return Response::Error;
        };
        if self.blocks.plugged_in(&blocks) > 0 {
            return Response::Error;
        }
        let len = u64::try_from(blocks.len()).unwrap_or(u64::MAX);
        let size = len.saturating_mul(self.config.block_size);
        if self.plugged_size().saturating_add(size) > self.config.requested_size {
            return Response::Nack;
        }
        for index in self.slots_of(&blocks) {
            if let Err(error) = self.show(index) {
                tracing::warn!(index, %error, "a slot of hot-plugged memory can't be shown");
                self.counters.failures += 1;
                self.hide_empty(&blocks);
                return Response::Busy;
            }
        }
        self.blocks.set(&blocks, true);
        self.counters.plugs += 1;
        Response::Ack
    }

    fn unplug(&mut self, memory: &GuestMemory, target: Target) -> Response {
        let Some(blocks) = target.blocks(&self.config) else {
            return Response::Error;
        };
        if self.blocks.plugged_in(&blocks) < blocks.len() {
            return Response::Error;
        }
        self.release(memory, &blocks);
        Response::Ack
    }

    fn unplug_all(&mut self, memory: &GuestMemory) -> Response {
        if self.blocks.plugged() == 0 {
            return Response::Ack;
        }
        self.release(memory, &self.blocks.all());
        Response::Ack
    }

    fn state(&self, target: Target) -> Response {
        let Some(blocks) = target.blocks(&self.config) else {
            return Response::Error;
        };
        Response::State(match self.blocks.plugged_in(&blocks) {
            0 => BlocksState::Unplugged,
            plugged if plugged == blocks.len() => BlocksState::Plugged,
            _ => BlocksState::Mixed,
        })
    }

    /// Unplugs what is plugged of some blocks. Their memory goes last, when the guest can't fill it again.
    fn release(&mut self, memory: &GuestMemory, blocks: &Range<usize>) {
        for run in self.blocks.runs(blocks) {
            let addresses = self.config.addresses(&run);
            self.ranges
                .add(addresses.start, addresses.end - addresses.start);
        }
        self.blocks.set(blocks, false);
        self.hide_empty(blocks);
        let result = reclaim::give_back(memory, &mut self.ranges);
        self.counters.unplugs += 1;
        self.counters.returned_bytes += result.bytes;
        self.counters.failures += result.failures;
    }

    fn show(&mut self, index: usize) -> std::io::Result<()> {
        let range = self.config.addresses(&self.slot(index));
        match self.shown.get_mut(index) {
            Some(shown) if !*shown => {
                self.slots.show(index, range)?;
                *shown = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Hides the slots of some blocks that have nothing plugged.
    fn hide_empty(&mut self, blocks: &Range<usize>) {
        for index in self.slots_of(blocks) {
            let slot = self.slot(index);
            let Some(shown) = self.shown.get_mut(index) else {
                continue;
            };
            if !*shown || self.blocks.plugged_in(&slot) > 0 {
                continue;
            }
            match self.slots.hide(index, self.config.addresses(&slot)) {
                Ok(()) => *shown = false,
                Err(error) => {
                    tracing::warn!(index, %error, "a slot of hot-plugged memory can't be hidden");
                    self.counters.failures += 1;
                }
            }
        }
    }
}

impl VirtioDevice for Mem {
    fn device_type(&self) -> DeviceType {
        DeviceType::Mem
    }

    fn queue_sizes(&self) -> &[u16] {
        QUEUES
    }

    fn features(&self) -> u64 {
        UNPLUGGED_INACCESSIBLE
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let space = self.region.config.space(self.region.plugged_size());
        crate::device::read_space(&space, offset, data);
    }

    fn start(&mut self, resources: Resources) -> Result<(), StartError> {
        self.worker.start(resources, QUEUES.len())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.stop()
    }

    fn notify(&mut self, queue: u16) -> Progress {
        let region = &mut self.region;
        self.worker
            .work(queue, |memory, chain| region.serve(memory, chain))
    }

    fn save(&self) -> DeviceState {
        DeviceState::Mem(MemState {
            config: self.region.config,
            plugged: self.region.blocks.words().to_vec(),
        })
    }
}
