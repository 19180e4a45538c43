//! The behaviour of virtio-fs.

use std::os::fd::RawFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::config::{FsBackend, FsConfig, FsError};
use super::server::{Served, Server, TURN};
use super::state::{self, FsRestoreError, FsState};
use super::waiting::{Waiter, Waiting};
use crate::device::{DeviceState, DeviceType, Progress, Resources, StartError, VirtioDevice};
use crate::metrics::Metrics;
use crate::worker::{Outcome, Running, Worker};
use crate::{Chain, GuestMemory, QueueState, Segment};

/// A directory of the host that the guest can mount. Requests are done one after the other, on the thread that notices
/// them.
#[derive(Debug)]
pub struct Fs {
    config: FsConfig,
    queue_sizes: Vec<u16>,
    server: Server,
    waiting: Waiting,
    worker: Worker,
}

impl Fs {
    /// Shares a directory.
    ///
    /// # Errors
    /// [`FsError`] if the configuration can't be, or the directory can't be shared.
    pub fn new(config: FsConfig, backend: FsBackend) -> Result<Self, FsError> {
        config.check()?;
        Ok(Self {
            queue_sizes: config.queue_sizes(),
            server: Server::new(&config, backend)?,
            waiting: Waiting::new()?,
            worker: Worker::default(),
            config,
        })
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
        if config != state.config {
            return Err(FsRestoreError::Config {
                saved: Box::new(state.config.clone()),
                given: Box::new(config),
            });
        }
        let mut fs = Self::new(config, backend)?;
        state::restore(state, &mut fs.server)?;
        state::restore_waiting(state, &mut fs.waiting)?;
        Ok(fs)
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
            Served::Waits(..) | Served::Interrupts(_) => 0,
        }
    }

    /// Tries all that wait once more.
    fn retry(&mut self) {
        let Some(mut running) = self.worker.running() else {
            return;
        };
        let before = self.waiting.waiters.len();
        let mut index = 0;
        while let Some(waiter) = self.waiting.waiters.get(index) {
            match self.server.lock(&waiter.lock) {
                Err(Errno::AGAIN) => index += 1,
                result => {
                    let waiter = self.waiting.waiters.remove(index);
                    give_back(&mut self.server, &mut running, &waiter, result);
                }
            }
        }
        self.server.unlocked = false;
        self.waiting.arm(self.waiting.waiters.len() < before);
    }

    /// Gives up a request that waits.
    fn interrupt(&mut self, unique: u64) {
        let waiters = &mut self.waiting.waiters;
        let found = waiters.iter().position(|waiter| waiter.unique == unique);
        if let Some(index) = found
            && let Some(mut running) = self.worker.running()
        {
            let waiter = waiters.remove(index);
            give_back(&mut self.server, &mut running, &waiter, Err(Errno::INTR));
        }
    }
}

/// Answers a request that waited.
fn give_back(
    server: &mut Server,
    running: &mut Running<'_>,
    waiter: &Waiter,
    result: Result<(), Errno>,
) {
    let writable = waiter.chain.writable();
    let written = server.answer(running.memory, writable, waiter.unique, result);
    running.give_back(waiter.queue, &waiter.chain, written);
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
        self.worker.start(resources, self.queue_sizes.len())?;
        self.waiting.arm(true);
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.waiting.disarm();
        self.worker.stop()
    }

    fn notify(&mut self, queue: u16) -> Progress {
        self.server.counters.queue_event_count.count();
        let before = self.waiting.waiters.len();
        let mut interrupted = Vec::new();
        let (server, waiting) = (&mut self.server, &mut self.waiting);
        server.moved = 0;
        let progress = self.worker.work(queue, |memory, chain| {
            let served = server.serve(memory, chain.readable(), chain.writable());
            let written = match served {
                Served::Done(written) => written,
                Served::Waits(unique, lock) if waiting.has_room() => {
                    server.counters.lock_wait_count.count();
                    waiting.waiters.push(Waiter {
                        queue,
                        chain: Chain::of_reply(chain.head(), chain.writable().to_vec()),
                        unique,
                        lock,
                    });
                    return Outcome::Kept;
                }
                Served::Waits(unique, _) => {
                    server.answer(memory, chain.writable(), unique, Err(Errno::NOLCK))
                }
                Served::Interrupts(unique) => {
                    interrupted.push(unique);
                    0
                }
            };
            if server.moved >= TURN {
                Outcome::Enough(written)
            } else {
                Outcome::Used(written)
            }
        });
        interrupted
            .into_iter()
            .for_each(|unique| self.interrupt(unique));
        let waiters = self.waiting.waiters.len();
        if waiters > 0 && self.server.unlocked {
            self.retry();
        } else if waiters > before {
            self.waiting.arm(true);
        }
        progress
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.waiting.fd())
    }

    fn poll(&mut self) -> Progress {
        self.waiting.take_expirations();
        if !self.waiting.waiters.is_empty() {
            self.retry();
        }
        Progress::Done
    }

    fn reset(&mut self) {
        self.waiting.waiters.clear();
        self.server.end_session();
    }

    fn metrics(&self) -> Arc<dyn Metrics> {
        self.server.counters.clone()
    }

    fn save(&self) -> DeviceState {
        DeviceState::Fs(state::save(&self.config, &self.server, &self.waiting))
    }
}
