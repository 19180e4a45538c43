//! The behaviour of virtio-fs.

use std::any::Any;
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::config::{FsBackend, FsConfig, FsError};
use super::server::{Served, Server};
use super::state::{self, FsRestoreError, FsState};
use super::waiting::{Waiter, Waiting};
use super::work::{Disposal, Errand, Retry};
use crate::device::{
    DeviceState, DeviceType, Finished, Job, Progress, Resources, StartError, VirtioDevice,
};
use crate::metrics::Metrics;
use crate::worker::{Outcome, Worker};
use crate::{Chain, GuestMemory, QueueState, Segment};

/// A directory of the host that the guest can mount. Each request is done by the thread that takes it, several at once.
#[derive(Debug)]
pub struct Fs {
    config: FsConfig,
    queue_sizes: Vec<u16>,
    server: Server,
    waiting: Waiting,
    worker: Worker,
    /// The guest's memory, from the first start on.
    memory: Option<GuestMemory>,
    /// How many requests of each queue threads have.
    busy: Vec<usize>,
    /// How many requests were taken.
    taken: u64,
    /// Those among them that threads have and that close a file: which, and what they close.
    closing: Vec<(u64, u64)>,
    /// A thread tries locks again.
    retries: bool,
    /// Requests that were to be given up while a thread had them.
    interrupted: Vec<u64>,
    /// Boxed, because that is how they travel.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Errand>>,
    jobs: VecDeque<Box<dyn Job>>,
    /// Requests that were done while the device was stopped: queue, chain, bytes written.
    landed: Vec<(u16, Chain, u32)>,
}

impl Fs {
    /// Shares a directory.
    ///
    /// # Errors
    /// [`FsError`] if the configuration can't be, or the directory can't be shared.
    pub fn new(config: FsConfig, backend: FsBackend) -> Result<Self, FsError> {
        config.check()?;
        let queue_sizes = config.queue_sizes();
        Ok(Self {
            busy: vec![0; queue_sizes.len()],
            queue_sizes,
            server: Server::new(&config, backend)?,
            waiting: Waiting::new()?,
            worker: Worker::default(),
            memory: None,
            taken: 0,
            closing: Vec::new(),
            retries: false,
            interrupted: Vec::new(),
            spare: Vec::new(),
            jobs: VecDeque::new(),
            landed: Vec::new(),
            config,
        })
    }

    /// How many threads can be at work for it at once: so many requests of each queue, and one of the queue for those that
    /// are urgent. With fewer, a queue can stall another.
    #[must_use]
    pub fn threads(&self) -> usize {
        (1..self.busy.len())
            .map(|queue| self.limit(queue))
            .sum::<usize>()
            + 1
    }

    /// How many requests of a queue threads may have.
    fn limit(&self, queue: usize) -> usize {
        match queue {
            0 => 1,
            _ => self.config.in_flight(),
        }
    }

    /// Shares a directory as it was saved. What the guest knew and had open is looked for by its names; what is not found
    /// is stale for the guest.
    ///
    /// # Errors
    /// [`FsRestoreError`] if the configuration is another, or the state is damaged.
    pub fn restore(
        config: FsConfig,
        state: &FsState,
        backend: FsBackend,
    ) -> Result<Self, FsRestoreError> {
        let mut fs = Self::new(config, backend)?;
        fs.take_up(state)?;
        Ok(fs)
    }

    /// Becomes what was saved, in a device that has done nothing yet: for whoever has the rights to the directory's files only in another
    /// thread than the one that makes the device.
    ///
    /// # Errors
    /// As for [`Fs::restore`]. The device is of no use then.
    pub fn take_up(&mut self, state: &FsState) -> Result<(), FsRestoreError> {
        if self.config != state.config {
            return Err(FsRestoreError::Config {
                saved: Box::new(state.config.clone()),
                given: Box::new(self.config.clone()),
            });
        }
        state::restore(state, &mut self.server)?;
        state::restore_waiting(state, &mut self.waiting)
    }

    /// Does one request outside of any queue, for fuzzing: how many bytes were written. One that waits is not answered.
    #[doc(hidden)]
    pub fn serve(
        &mut self,
        memory: &GuestMemory,
        readable: &[Segment],
        writable: &[Segment],
    ) -> u32 {
        match self.server.serve(memory, readable, writable) {
            Served::Done(written) => written,
            Served::Waits(..) | Served::Refused(..) | Served::Interrupts(_) => 0,
        }
    }

    /// Has a thread try all that wait once more.
    fn retry(&mut self) {
        if self.retries || self.waiting.waiters.is_empty() || self.worker.is_stopped() {
            return;
        }
        self.retries = true;
        self.server.unlocked.store(false, Ordering::Release);
        let mut waiters = std::mem::take(&mut self.waiting.waiters);
        for waiter in &mut waiters {
            waiter.last = waiter
                .order
                .is_some_and(|order| !self.is_closing(waiter.lock.node, order));
        }
        let retry = Retry::new(self.server.another(), waiters);
        self.jobs.push_back(Box::new(retry));
    }

    /// Takes back requests for locks that were tried again.
    fn take_retried(&mut self, retry: Retry) {
        self.retries = false;
        let hope = !retry.done.is_empty();
        for (waiter, result) in retry.done {
            self.answer(&waiter, result);
        }
        let interrupted = std::mem::take(&mut self.interrupted);
        let mut waiters = Vec::with_capacity(retry.waiters.len());
        for waiter in retry.waiters {
            if interrupted.contains(&waiter.unique) {
                self.answer(&waiter, Err(Errno::INTR));
            } else if waiter.last || (waiter.order.is_some() && self.worker.is_stopped()) {
                self.refuse(&waiter);
            } else {
                waiters.push(waiter);
            }
        }
        // Those that came meanwhile are behind.
        waiters.append(&mut self.waiting.waiters);
        self.waiting.waiters = waiters;
        self.waiting.arm(hope);
        self.retry_last();
    }

    /// Whether a request that is older than another closes a file.
    fn is_closing(&self, node: u64, order: u64) -> bool {
        let mut closing = self.closing.iter();
        closing.any(|(older, closes)| *older < order && *closes == node)
    }

    /// Has those tried for the last time whose file nobody closes any more.
    fn retry_last(&mut self) {
        let mut waiters = self.waiting.waiters.iter();
        let is_due = waiters.any(|waiter| {
            waiter
                .order
                .is_some_and(|order| !self.is_closing(waiter.lock.node, order))
        });
        if is_due {
            self.retry();
        }
    }

    /// Those that do not wait for a lock get no other chance while the device is stopped.
    fn refuse_all(&mut self) {
        let waiters = std::mem::take(&mut self.waiting.waiters);
        let (refused, waiters): (Vec<_>, Vec<_>) = waiters
            .into_iter()
            .partition(|waiter| waiter.order.is_some());
        self.waiting.waiters = waiters;
        for waiter in refused {
            self.refuse(&waiter);
        }
    }

    /// Gives up a request that waits.
    fn interrupt(&mut self, unique: u64) {
        let waiters = &mut self.waiting.waiters;
        let found = waiters.iter().position(|waiter| waiter.unique == unique);
        match found {
            Some(index) => {
                let waiter = waiters.remove(index);
                self.answer(&waiter, Err(Errno::INTR));
            }
            None if self.retries && self.interrupted.len() < self.waiting.max() => {
                self.interrupted.push(unique);
            }
            None => {}
        }
    }

    /// Someone else has the lock, and the guest does not want to wait.
    fn refuse(&mut self, waiter: &Waiter) {
        self.server.counters.error_count.count();
        self.answer(waiter, Err(Errno::AGAIN));
    }

    /// Answers a request that waited.
    fn answer(&mut self, waiter: &Waiter, result: Result<(), Errno>) {
        let Some(memory) = &self.memory else {
            return;
        };
        let writable = waiter.chain.writable();
        let written = self.server.answer(memory, writable, waiter.unique, result);
        self.give_back(waiter.queue, &waiter.chain, written);
    }

    /// Gives a request back to the driver, or keeps it for it.
    fn give_back(&mut self, queue: u16, chain: &Chain, written: u32) {
        if self.worker.is_stopped() {
            let mut kept = Chain::new();
            kept.copy_from(chain);
            self.landed.push((queue, kept, written));
        } else if let Some(mut running) = self.worker.running() {
            running.give_back(queue, chain, written);
        }
    }

    /// Sees to what became of a request.
    fn take_back(&mut self, errand: &Errand) {
        let (queue, chain) = (errand.queue, &errand.chain);
        match errand.served {
            Served::Done(written) => self.give_back(queue, chain, written),
            Served::Interrupts(unique) => {
                self.give_back(queue, chain, 0);
                self.interrupt(unique);
            }
            Served::Refused(unique, lock) => {
                let mut waiter = Waiter::of(errand, unique, lock);
                let has_chance = self.waiting.has_room() && !self.worker.is_stopped();
                if has_chance && self.is_closing(lock.node, errand.order) {
                    waiter.order = Some(errand.order);
                    self.waiting.waiters.push(waiter);
                } else {
                    self.refuse(&waiter);
                }
            }
            Served::Waits(unique, lock) => {
                let waiter = Waiter::of(errand, unique, lock);
                if self.waiting.has_room() {
                    self.server.counters.lock_wait_count.count();
                    self.waiting.waiters.push(waiter);
                    self.waiting.arm(true);
                } else {
                    self.answer(&waiter, Err(Errno::NOLCK));
                }
            }
        }
    }
}

impl VirtioDevice for Fs {
    fn device_type(&self) -> DeviceType {
        DeviceType::Fs
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn features(&self) -> u64 {
        // Notifications, the only feature there is, would tell the guest of changes on the host. Linux has no use for it.
        0
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        crate::device::read_space(&self.config.space(), offset, data);
    }

    fn start(&mut self, resources: Resources) -> Result<(), StartError> {
        // The first queue has no requests that wait.
        self.waiting.set_queues(resources.queues.iter().skip(1));
        let memory = resources.memory.clone();
        self.worker.start(resources, self.queue_sizes.len())?;
        self.memory = Some(memory);
        for (queue, chain, written) in std::mem::take(&mut self.landed) {
            self.give_back(queue, &chain, written);
        }
        self.waiting.arm(true);
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.waiting.disarm();
        let states = self.worker.stop();
        self.refuse_all();
        states
    }

    fn in_flight(&self) -> usize {
        self.busy.iter().sum::<usize>() + usize::from(self.retries)
    }

    fn notify(&mut self, queue: u16) -> Progress {
        self.server.counters.queue_event_count.count();
        let index = usize::from(queue);
        let limit = self.limit(index);
        let Some(busy) = self.busy.get_mut(index) else {
            return Progress::Done;
        };
        if *busy >= limit {
            // Who is done first looks at the queue.
            return Progress::Done;
        }
        let spare = self.spare.pop();
        let mut errand = spare.unwrap_or_else(|| Box::new(Errand::new(self.server.another())));
        let mut taken = false;
        let progress = self.worker.work(queue, |memory, chain| {
            errand.take(queue, memory, chain);
            taken = true;
            if *busy + 1 < limit {
                Outcome::Apart
            } else {
                Outcome::Full
            }
        });
        if taken {
            *busy += 1;
            errand.order = self.taken;
            self.taken += 1;
            if let Some(node) = errand.closes {
                self.closing.push((errand.order, node));
            }
            self.jobs.push_back(errand);
        } else {
            self.spare.push(errand);
        }
        progress
    }

    fn take_job(&mut self) -> Option<Box<dyn Job>> {
        self.jobs.pop_front()
    }

    fn finish(&mut self, job: Box<dyn Job>) -> Finished {
        let job: Box<dyn Any> = job;
        let job = match job.downcast::<Errand>() {
            Ok(errand) => {
                let closed = errand.closes.is_some();
                if closed {
                    self.closing.retain(|(order, _)| *order != errand.order);
                }
                self.take_back(&errand);
                let queue = errand.queue;
                if let Some(busy) = self.busy.get_mut(usize::from(queue)) {
                    *busy = busy.saturating_sub(1);
                }
                self.spare.push(errand);
                if self.server.unlocked.load(Ordering::Acquire) {
                    self.retry();
                }
                if closed {
                    self.retry_last();
                }
                return Finished::Queue(queue);
            }
            Err(job) => job,
        };
        if let Ok(retry) = job.downcast::<Retry>() {
            self.take_retried(*retry);
        }
        Finished::Quietly
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.waiting.fd())
    }

    fn poll(&mut self) -> Progress {
        self.waiting.take_expirations();
        self.retry();
        Progress::Done
    }

    fn reset(&mut self) {
        self.waiting.waiters.clear();
        self.interrupted.clear();
        self.landed.clear();
        let remains = self.server.end_session();
        self.jobs.push_back(Box::new(Disposal(Some(remains))));
    }

    fn metrics(&self) -> Arc<dyn Metrics> {
        self.server.counters.clone()
    }

    fn save(&self) -> DeviceState {
        DeviceState::Fs(state::save(&self.config, &self.server, &self.waiting))
    }
}
