//! The behaviour of virtio-blk.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;

use virtio_bindings::bindings::virtio_blk::{VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH};

use super::batch::{Batch, Disposal};
use super::config::{self, BlockConfig, CacheMode, Engine, MAX_QUEUES, QUEUE_SIZE};
use super::counters::BlockCounters;
use super::disk::{Buffers, Disk};
use super::flights::{Flights, Landed};
use super::request;
use super::serve::Server;
use super::state::{BlockError, BlockRestoreError, BlockState, ReplaceError, check_likeness};
use crate::device::{
    DeviceState, DeviceType, Finished, Job, Progress, Resources, StartError, VirtioDevice,
};
use crate::metrics::Metrics;
use crate::poller::Poller;
use crate::rate::{RateControl, RateLimiter};
use crate::worker::Worker;
use crate::{Chain, QueueState};

/// A disk.
#[derive(Debug)]
pub struct Block {
    config: BlockConfig,
    queue_sizes: Vec<u16>,
    disk: Arc<Disk>,
    /// Contents that are to take the place of those that are there, when nothing is in flight any more.
    successor: Option<Successor>,
    /// What the driver was told at its start; files that take the place of others must not have larger ones.
    block_size: u32,
    /// What the driver chose where it may choose: whether writes may wait for a flush.
    writeback: bool,
    features: u64,
    /// Gone before the guest's memory is.
    flights: Option<Flights>,
    worker: Worker,
    buffers: Buffers,
    lines: Vec<Line>,
    /// Work for threads.
    jobs: VecDeque<Box<dyn Job>>,
    /// Requests in batches that threads have.
    handed: usize,
    /// Requests that were done while the device was stopped: queue, chain, bytes written.
    landed: Vec<(u16, Chain, u32)>,
    limiter: RateLimiter,
    poller: Poller,
    /// Whether requests wait in queues for a limit or for room; [`Block::poll`] has them looked at again.
    waits: bool,
    /// Whether the next request of each queue was refused by the limiter.
    refused: [bool; MAX_QUEUES as usize],
    counters: Arc<BlockCounters>,
}

/// What a queue has to do with threads.
#[derive(Debug, Default)]
struct Line {
    /// A batch to be filled; none before the first.
    spare: Option<Box<Batch>>,
    /// A thread has one.
    is_busy: bool,
}

/// Told whether contents took the place of others. It must not wait.
pub type OnReplaced = Box<dyn FnOnce(Result<(), ReplaceError>) + Send>;

struct Successor {
    disk: Arc<Disk>,
    on_replaced: OnReplaced,
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
            lines: (0..config.queues).map(|_| Line::default()).collect(),
            config,
            disk: Arc::new(disk),
            successor: None,
            writeback: true,
            features: 0,
            flights,
            worker: Worker::default(),
            buffers: Buffers::default(),
            jobs: VecDeque::new(),
            handed: 0,
            landed: Vec::new(),
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

    /// Puts other contents in the place of those that are there; the driver is told of the new size. Works on a running disk and
    /// on a stopped one. Requests in flight are done with the old contents, which come back if nobody uses them any more:
    /// closing files can take long, so it is best done without the device's lock.
    ///
    /// With io_uring, whose files can only be changed when nothing is in flight, it waits for that, and further requests
    /// wait with it: `on_replaced` is called now or then. [`Block::keep`] ends the waiting.
    pub fn replace(&mut self, disk: Disk, on_replaced: OnReplaced) -> Option<Arc<Disk>> {
        let fits = check_likeness(self.disk.is_read_only(), self.block_size, &disk);
        if let Err(unlike) = fits {
            self.counters.update(false);
            on_replaced(Err(unlike.into()));
            return None;
        }
        if self.successor.is_some() {
            on_replaced(Err(ReplaceError::Twice));
            return None;
        }
        let disk = Arc::new(disk);
        self.successor = Some(Successor { disk, on_replaced });
        self.succeed()
    }

    /// Stays with the contents that there are, if others still wait to take their place; whether they did.
    pub fn keep(&mut self) -> bool {
        self.successor.take().is_some()
    }

    /// Lets new contents take their place, if it is time. The old ones come back.
    fn succeed(&mut self) -> Option<Arc<Disk>> {
        let is_time = self.flights.as_ref().is_none_or(Flights::is_empty);
        let successor = self.successor.take_if(|_| is_time)?;
        if let Some(flights) = &mut self.flights
            && let Err(error) = flights.set_files(&successor.disk)
        {
            self.counters.update(false);
            (successor.on_replaced)(Err(ReplaceError::Files(error)));
            return Some(successor.disk);
        }
        let old = std::mem::replace(&mut self.disk, successor.disk);
        self.counters.update(true);
        self.worker.config_changed();
        (successor.on_replaced)(Ok(()));
        Some(old)
    }

    /// The contents that there are.
    #[must_use]
    pub fn disk(&self) -> Arc<Disk> {
        Arc::clone(&self.disk)
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

    /// Begins what is in a queue.
    fn serve(&mut self, queue: u16) -> Progress {
        let write_through = self.is_write_through();
        let Some(line) = self.lines.get_mut(usize::from(queue)) else {
            return Progress::Done;
        };
        if line.is_busy && self.flights.is_none() {
            return Progress::Done;
        }
        let serial = self.config.serial.bytes();
        let new = || Box::new(Batch::new(queue, serial, self.counters.clone()));
        let mut batch = (!line.is_busy).then(|| line.spare.take().unwrap_or_else(new));
        let mut server = Server {
            disk: &self.disk,
            serial: &serial,
            write_through,
            buffers: &mut self.buffers,
            flights: self.flights.as_mut(),
            batch: batch.as_deref_mut(),
            is_held: self.successor.is_some(),
            limiter: &mut self.limiter,
            waits: &mut self.waits,
            refused: &mut self.refused,
            counters: &self.counters,
            features: self.features,
            queue,
        };
        let progress = self
            .worker
            .work(queue, |memory, chain| server.serve(memory, chain));
        match batch {
            Some(batch) if batch.is_empty() => line.spare = Some(batch),
            Some(mut batch) => {
                batch.set_disk(Arc::clone(&self.disk), write_through);
                line.is_busy = true;
                self.handed += batch.items().len();
                self.jobs.push_back(batch);
            }
            None => {}
        }
        progress
    }

    /// Gives requests that have landed back to the driver; with `all`, waits for those that have not. Whether there were any.
    fn land(&mut self, all: bool) -> bool {
        let Some(flights) = &mut self.flights else {
            return false;
        };
        let before = flights.count();
        let counters = &self.counters;
        let is_stopped = self.worker.is_stopped();
        let stored = &mut self.landed;
        let mut running = self.worker.running();
        let mut landed = [false; MAX_QUEUES as usize];
        let on_landed = |request: Landed<'_>| {
            counters.request(&request.request, &request.result, request.time);
            // A device that was lost has nobody to answer to.
            if let Some(running) = &mut running {
                let written = request::answer(request.memory, request.chain, &request.result);
                running.give_back_quietly(request.queue, request.chain, written);
                if let Some(landed) = landed.get_mut(usize::from(request.queue)) {
                    *landed = true;
                }
            } else if is_stopped {
                let written = request::answer(request.memory, request.chain, &request.result);
                let mut chain = Chain::new();
                chain.copy_from(request.chain);
                stored.push((request.queue, chain, written));
            }
        };
        if all {
            flights.drain(&self.disk, &mut self.buffers, on_landed);
        } else {
            flights.reap(&self.disk, &mut self.buffers, on_landed);
        }
        let any = flights.count() < before;
        if let Some(running) = &mut running {
            for (queue, _) in (0..).zip(landed).filter(|(_, landed)| *landed) {
                running.interrupt(queue);
            }
        }
        if let Some(old) = self.succeed() {
            self.jobs.push_back(Box::new(Disposal(Some(old))));
            // Those that were held back.
            self.waits = true;
        }
        any
    }

    /// Gives the requests of a batch back to the driver, or keeps them for it.
    fn unload(&mut self, batch: &Batch) {
        let is_stopped = self.worker.is_stopped();
        let mut running = self.worker.running();
        for item in batch.items() {
            // Known only now, so it may leave a debt.
            if item.zeroed > 0 {
                self.limiter.charge(item.zeroed, 0);
            }
            if let Some(running) = &mut running {
                running.give_back_quietly(batch.queue, &item.chain, item.written);
            } else if is_stopped {
                let mut chain = Chain::new();
                chain.copy_from(&item.chain);
                self.landed.push((batch.queue, chain, item.written));
            }
        }
        if let Some(running) = &mut running {
            running.interrupt(batch.queue);
        }
    }

    /// Gives the kernel what was begun.
    fn submit(&mut self) -> Progress {
        match self.flights.as_mut().map(Flights::submit) {
            Some(false) => Progress::More,
            _ => Progress::Done,
        }
    }
}

impl fmt::Debug for Successor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Successor")
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
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
        let landed = std::mem::take(&mut self.landed);
        if let Some(mut running) = self.worker.running() {
            for (queue, chain, written) in landed {
                running.give_back(queue, &chain, written);
            }
        }
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.waits = false;
        self.worker.stop()
    }

    fn in_flight(&self) -> usize {
        self.handed + self.flights.as_ref().map_or(0, Flights::count)
    }

    fn take_job(&mut self) -> Option<Box<dyn Job>> {
        self.jobs.pop_front()
    }

    fn finish(&mut self, job: Box<dyn Job>) -> Finished {
        let job: Box<dyn Any> = job;
        let Ok(mut batch) = job.downcast::<Batch>() else {
            return Finished::Quietly;
        };
        self.unload(&batch);
        self.handed -= batch.items().len();
        batch.clear();
        let queue = batch.queue;
        if let Some(line) = self.lines.get_mut(usize::from(queue)) {
            line.is_busy = false;
            line.spare = Some(batch);
        }
        match self.flights {
            // The ring belongs to the thread that is kicked.
            Some(_) => Finished::AllQueues,
            None => Finished::Queue(queue),
        }
    }

    fn drain(&mut self) {
        self.land(true);
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
        // A timer's edge need not be taken as long as nobody waits for it and completions are what this is about.
        if !self.land(false) || self.waits {
            self.poller.drain();
        }
        let submitted = self.submit();
        if std::mem::take(&mut self.waits) {
            return Progress::More;
        }
        submitted
    }

    fn reset(&mut self) {
        self.landed.clear();
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
