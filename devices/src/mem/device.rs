//! The behaviour of virtio-mem.

use std::ops::Range;
use std::sync::Arc;

use super::blocks::Blocks;
use super::config::{MemConfig, MemConfigError, UNPLUGGED_INACCESSIBLE};
use super::request::{BlocksState, REQUEST, Request, Response, Target};
use super::slots::Slots;
use super::state::{MemRestoreError, MemState};
use crate::device::{DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice};
use crate::iov::Span;
use crate::metrics::{Counter, Metrics};
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

counters! {
    /// What the device did since it was made.
    pub struct MemCounters {
        /// Requests of the driver.
        pub queue_event_count: Counter,
        /// Requests that could not be understood.
        pub queue_event_fails: Counter,
        /// Requests to plug that were granted.
        pub plug_count: Counter,
        /// Bytes that were plugged.
        pub plug_bytes: Counter,
        /// Requests to plug that were refused, or that the host could not do.
        pub plug_fails: Counter,
        /// Requests to unplug that were granted.
        pub unplug_count: Counter,
        /// Bytes that were unplugged by any request.
        pub unplug_bytes: Counter,
        /// Requests to unplug that were refused.
        pub unplug_fails: Counter,
        /// Calls to give memory back that the host's kernel refused.
        pub unplug_discard_fails: Counter,
        /// Requests to unplug all that were granted.
        pub unplug_all_count: Counter,
        /// Requests for the state of blocks that were answered.
        pub state_count: Counter,
        /// Requests for the state of blocks that were refused.
        pub state_fails: Counter,
        /// Bytes that went back to the host.
        pub returned_bytes: Counter,
        /// Slots of memory that could not be shown to the guest, or taken away from it.
        pub slot_fails: Counter,
    }
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
    counters: Arc<MemCounters>,
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
                counters: Arc::default(),
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
    pub fn counters(&self) -> Arc<MemCounters> {
        self.region.counters.clone()
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
        self.count(request.as_ref(), &response);
        let answer = Span::all(memory, chain.writable()).copy_in(&response.bytes());
        Outcome::Used(answer.map_or(0, worker::written))
    }

    fn count(&self, request: Option<&Request>, response: &Response) {
        let counters = &self.counters;
        counters.queue_event_count.count();
        let granted = matches!(response, Response::Ack | Response::State(_));
        let counter = match (request, granted) {
            (Some(Request::Plug(_)), true) => &counters.plug_count,
            (Some(Request::Plug(_)), false) => &counters.plug_fails,
            (Some(Request::Unplug(_)), true) => &counters.unplug_count,
            (Some(Request::Unplug(_)), false) => &counters.unplug_fails,
            (Some(Request::State(_)), true) => &counters.state_count,
            (Some(Request::State(_)), false) => &counters.state_fails,
            // It is never refused.
            (Some(Request::UnplugAll), _) => &counters.unplug_all_count,
            (None, _) => &counters.queue_event_fails,
        };
        counter.count();
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
                self.counters.slot_fails.count();
                self.hide_empty(&blocks);
                return Response::Busy;
            }
        }
        self.blocks.set(&blocks, true);
        self.counters.plug_bytes.add(size);
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
            let len = addresses.end - addresses.start;
            self.counters.unplug_bytes.add(len);
            self.ranges.add(addresses.start, len);
        }
        self.blocks.set(blocks, false);
        self.hide_empty(blocks);
        let result = reclaim::give_back(memory, &mut self.ranges);
        self.counters.returned_bytes.add(result.bytes);
        self.counters.unplug_discard_fails.add(result.failures);
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
                    self.counters.slot_fails.count();
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

    fn metrics(&self) -> Arc<dyn Metrics> {
        self.region.counters.clone()
    }

    fn save(&self) -> DeviceState {
        DeviceState::Mem(MemState {
            config: self.region.config,
            plugged: self.region.blocks.words().to_vec(),
        })
    }
}
