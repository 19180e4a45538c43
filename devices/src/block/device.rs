//! The behaviour of virtio-blk.

use std::os::fd::RawFd;
use std::sync::Arc;

use virtio_bindings::bindings::virtio_blk::{VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH};

use super::config::{self, BlockConfig, CacheMode, Engine, MAX_QUEUES, QUEUE_SIZE};
use super::counters::BlockCounters;
use super::disk::{Buffers, Disk};
use super::flights::{Flights, Landed};
use super::request::{self, Context};
use super::serve::Server;
use super::state::{BlockError, BlockRestoreError, BlockState, ReplaceError, UnlikeDisk};
use crate::QueueState;
use crate::device::{DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice};
use crate::metrics::Metrics;
use crate::poller::Poller;
use crate::rate::{RateControl, RateLimiter};
use crate::worker::Worker;

/// A disk.
#[derive(Debug)]
pub struct Block {
    config: BlockConfig,
    queue_sizes: Vec<u16>,
    disk: Disk,
    /// What the driver was told at its start; files that take the place of others must not have larger ones.
    block_size: u32,
    /// What the driver chose where it may choose: whether writes may wait for a flush.
    writeback: bool,
    features: u64,
    /// Gone before the guest's memory is.
    flights: Option<Flights>,
    worker: Worker,
    buffers: Buffers,
    limiter: RateLimiter,
    poller: Poller,
    /// Whether requests wait in queues for a limit or for room; [`Block::poll`] has them looked at again.
    waits: bool,
    /// Whether the next request of each queue was refused by the limiter.
    refused: [bool; MAX_QUEUES as usize],
    counters: Arc<BlockCounters>,
}

impl Block {
    /// A disk with the given contents.
    ///
    /// # Errors
    /// [`BlockError`] if the configuration can't be, or the kernel refuses what is needed for it.
    pub fn new(config: BlockConfig, disk: Disk) -> Result<Self, BlockError> {
        let limiter = RateLimiter::new(&config.rate).map_err(BlockError::Events)?;
        Self::with(config, disk, limiter)
    }

    fn with(config: BlockConfig, disk: Disk, limiter: RateLimiter) -> Result<Self, BlockError> {
        if config.queues == 0 || config.queues > MAX_QUEUES {
            return Err(BlockError::Queues(config.queues));
        }
        let poller = Poller::new().map_err(BlockError::Events)?;
        poller.add_edge(limiter.fd()).map_err(BlockError::Events)?;
        let flights = match config.engine {
            Engine::Sync => None,
            Engine::IoUring => {
                let flights = Flights::new(&disk).map_err(BlockError::IoUring)?;
                poller.add(flights.fd()).map_err(BlockError::Events)?;
                Some(flights)
            }
        };
        Ok(Self {
            queue_sizes: vec![QUEUE_SIZE; config.queues.into()],
            block_size: disk.block_size(),
            config,
            disk,
            writeback: true,
            features: 0,
            flights,
            worker: Worker::default(),
            buffers: Buffers::default(),
            limiter,
            poller,
            waits: false,
            refused: [false; MAX_QUEUES as usize],
            counters: Arc::default(),
        })
    }

    /// A disk as it was saved, with its contents opened again.
    ///
    /// # Errors
    /// [`BlockRestoreError`] if they can't be the same contents, or as for a new disk.
    pub fn restore(state: &BlockState, disk: Disk) -> Result<Self, BlockRestoreError> {
        if state.capacity != disk.capacity() {
            return Err(BlockRestoreError::Capacity {
                saved: state.capacity,
                given: disk.capacity(),
            });
        }
        check_likeness(state.read_only, state.block_size, &disk)?;
        let limiter = RateLimiter::restore(&state.rate)?;
        Ok(Self {
            block_size: state.block_size,
            writeback: state.writeback,
            ..Self::with(state.config.clone(), disk, limiter)?
        })
    }

    /// Puts other contents in the place of those that are there, and gives these back. What is in flight is done before, with the old
    /// ones; the driver is told of the new size. Works on a running disk and on a stopped one.
    ///
    /// # Errors
    /// [`ReplaceError`] if the driver could not go on with them. The disk then has its old contents.
    pub fn replace(&mut self, disk: Disk) -> Result<Disk, ReplaceError> {
        let replaced = self.try_replace(disk);
        self.counters.update(replaced.is_ok());
        replaced
    }

    fn try_replace(&mut self, disk: Disk) -> Result<Disk, ReplaceError> {
        check_likeness(self.disk.is_read_only(), self.block_size, &disk)?;
        self.drain();
        if let Some(flights) = &mut self.flights {
            flights.set_files(&disk).map_err(ReplaceError::Files)?;
        }
        let old = std::mem::replace(&mut self.disk, disk);
        self.worker.config_changed();
        Ok(old)
    }

    /// Asks the files for their sizes again, after one was made larger or smaller, and tells the driver; the new capacity in
    /// sectors.
    ///
    /// # Errors
    /// [`ReplaceError::Disk`] if they can't be those of a disk. The disk then has its old size.
    pub fn refresh(&mut self) -> Result<u64, ReplaceError> {
        self.drain();
        let measured = self.disk.measure();
        self.counters.update(measured.is_ok());
        measured?;
        self.worker.config_changed();
        Ok(self.disk.capacity())
    }

    /// Sectors of 512 bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.disk.capacity()
    }

    /// What changes the rate limits, from any thread.
    #[must_use]
    pub fn rate_control(&self) -> RateControl {
        self.limiter.control()
    }

    /// What the disk did.
    #[must_use]
    pub fn counters(&self) -> Arc<BlockCounters> {
        self.counters.clone()
    }

    /// Whether each write must be safe before it is reported: the driver asked for it, or it can't flush although flushing
    /// is meant (section 5.2.6.2).
    fn is_write_through(&self) -> bool {
        let took = |bit: u32| self.features & 1 << bit != 0;
        if self.disk.is_read_only() || self.config.cache == CacheMode::Unsafe {
            return false;
        }
        if took(VIRTIO_BLK_F_CONFIG_WCE) {
            !self.writeback
        } else {
            !took(VIRTIO_BLK_F_FLUSH)
        }
    }

    /// Begins, or does, what is in a queue.
    fn serve(&mut self, queue: u16) -> Progress {
        let serial = self.config.serial.bytes();
        let mut server = Server {
            context: Context {
                write_through: self.is_write_through(),
                disk: &self.disk,
                buffers: &mut self.buffers,
                serial: &serial,
                zeroed: 0,
            },
            flights: self.flights.as_mut(),
            limiter: &mut self.limiter,
            waits: &mut self.waits,
            refused: &mut self.refused,
            counters: &self.counters,
            features: self.features,
            moved: 0,
            queue,
        };
        self.worker
            .work(queue, |memory, chain| server.serve(memory, chain))
    }

    /// Gives requests that have landed back to the driver; with `all`, waits for those that have not.
    fn land(&mut self, all: bool) {
        let Some(flights) = &mut self.flights else {
            return;
        };
        let counters = &self.counters;
        let mut running = self.worker.running();
        let mut landed = [false; MAX_QUEUES as usize];
        let on_landed = |request: Landed<'_>| {
            counters.request(&request.request, &request.result, request.time);
            // A device that was lost has nobody to answer to.
            if let Some(running) = &mut running {
                let written = request::answer(running.memory, request.chain, &request.result);
                running.give_back_quietly(request.queue, request.chain, written);
                if let Some(landed) = landed.get_mut(usize::from(request.queue)) {
                    *landed = true;
                }
            }
        };
        if all {
            flights.drain(&self.disk, &mut self.buffers, on_landed);
        } else {
            flights.reap(&self.disk, &mut self.buffers, on_landed);
        }
        if let Some(running) = &mut running {
            for (queue, _) in (0..).zip(landed).filter(|(_, landed)| *landed) {
                running.interrupt(queue);
            }
        }
    }

    /// Waits until nothing is in flight.
    fn drain(&mut self) {
        self.land(true);
    }

    /// Gives the kernel what was begun.
    fn submit(&mut self) -> Progress {
        match self.flights.as_mut().map(Flights::submit) {
            Some(false) => Progress::More,
            _ => Progress::Done,
        }
    }
}

/// Whether a driver that began with a disk can go on with another.
fn check_likeness(read_only: bool, block_size: u32, disk: &Disk) -> Result<(), UnlikeDisk> {
    if read_only != disk.is_read_only() {
        return Err(UnlikeDisk::ReadOnly {
            was: read_only,
            given: disk.is_read_only(),
        });
    }
    if disk.block_size() > block_size {
        return Err(UnlikeDisk::BlockSize {
            was: block_size,
            given: disk.block_size(),
        });
    }
    Ok(())
}

impl VirtioDevice for Block {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn features(&self) -> u64 {
        config::features(&self.config, self.disk.is_read_only())
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let space = config::config_space(
            &self.disk,
            self.block_size,
            self.config.queues,
            self.writeback,
        );
        crate::device::read_space(&space, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let Some(writeback) = config::written_writeback(offset, data)
            && self.features() & 1 << VIRTIO_BLK_F_CONFIG_WCE != 0
        {
            self.writeback = writeback;
        }
    }

    fn start(&mut self, resources: Resources) -> Result<(), StartError> {
        let features = resources.features;
        self.worker.start(resources, self.queue_sizes.len())?;
        self.features = features;
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.drain();
        self.waits = false;
        self.worker.stop()
    }

    fn notify(&mut self, queue: u16) -> Progress {
        self.counters.queue_event_count.count();
        let progress = self.serve(queue);
        let mut submitted = self.submit();
        // What the host has in its memory is done at once. While requests wait, only `poll` makes room, for it has all
        // queues looked at again.
        if !self.waits {
            self.land(false);
            submitted = self.submit();
        }
        match (progress, submitted) {
            (Progress::Done, Progress::Done) => Progress::Done,
            _ => Progress::More,
        }
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.poller.fd())
    }

    fn poll(&mut self) -> Progress {
        self.poller.drain();
        self.land(false);
        let submitted = self.submit();
        if std::mem::take(&mut self.waits) {
            return Progress::More;
        }
        submitted
    }

    fn reset(&mut self) {
        self.writeback = true;
        self.features = 0;
    }

    fn metrics(&self) -> Arc<dyn Metrics> {
        self.counters.clone()
    }

    fn save(&self) -> DeviceState {
        DeviceState::Block(BlockState {
            config: self.config.clone(),
            capacity: self.disk.capacity(),
            block_size: self.block_size,
            read_only: self.disk.is_read_only(),
            writeback: self.writeback,
            rate: self.limiter.save(),
        })
    }
}
