//! virtio over MMIO: the register layout of virtio 1.2, section 4.2.2, and nothing else.
//!
//! Locks: the shared core is behind one mutex, which the event loop holds while the device works, but not while the device's
//! [`Job`]s wait for the host: nobody waits for this lock longer than a device takes to look at its queues. InterruptStatus,
//! InterruptACK and QueueNotify, which a vCPU needs for every interrupt and kick, don't take it at all.
//!
//! Who has a thread for the device calls [`MmioTransport::on_kick`] and [`MmioTransport::on_poll`]; several threads may, and
//! then as many jobs go on at once. In a loop of `event-manager` the transport is a subscriber.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, EventSubscriber, Events};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::core::{Area, Core, Half};
use super::state::{RestoreError, TransportState};
use crate::{Finished, GuestMemory, Interrupt, Job, Notifier, Progress, VirtioDevice};

/// How much address space a device takes.
pub const MMIO_SIZE: u64 = 0x1000;
/// Where the device's configuration space begins.
const CONFIG: u64 = 0x100;
/// "virt".
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// "HULL".
const VENDOR: u32 = 0x4c4c_5548;
/// What a driver reads where there is no shared memory region (section 4.2.2, SHMLenLow).
const NO_REGION: u32 = u32::MAX;

/// The event data of the device's own descriptor; queues have their index.
const POLL: u32 = u32::MAX;

/// The offset of QueueNotify, where KVM's ioeventfds listen.
pub const QUEUE_NOTIFY: u64 = 0x50;

/// Jobs that one event leads to before others have their turn.
const JOBS: usize = 8;

/// What became of a write to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// It is done.
    Done,
    /// It resets the device, and the host still works on requests of it. A driver may take the device for reset as soon as
    /// the write is over, so the vCPU must not go on before [`MmioTransport::await_reset`] has returned.
    Resets,
}

/// A device with registers in memory. Shared: vCPUs read and write it, the event loop has it as a subscriber.
#[derive(Debug)]
pub struct MmioTransport {
    core: Mutex<Core>,
    /// Something that was in flight is not any longer.
    landed: Condvar,
    /// Who waits for that: a wake-up is a system call, and hardly ever is there anybody.
    waiting: AtomicUsize,
    notifier: Notifier,
    kicks: Vec<EventFd>,
    poll_fd: Option<RawFd>,
}

impl MmioTransport {
    /// Puts a device behind registers.
    ///
    /// # Errors
    /// If there are no more eventfds.
    pub fn new(
        device: Box<dyn VirtioDevice>,
        memory: GuestMemory,
        interrupt: Arc<dyn Interrupt>,
    ) -> io::Result<Self> {
        let notifier = Notifier::new(interrupt);
        Self::with_core(Core::new(device, memory, notifier.clone()), notifier)
    }

    /// Puts a device behind registers as they were saved. It is paused; [`MmioTransport::resume`] lets it go on.
    ///
    /// # Errors
    /// [`RestoreError`] if the state fits neither the device nor the specification.
    pub fn restore(
        state: &TransportState,
        device: Box<dyn VirtioDevice>,
        memory: GuestMemory,
        interrupt: Arc<dyn Interrupt>,
    ) -> Result<Self, RestoreError> {
        let notifier = Notifier::new(interrupt);
        let core = Core::restore(state, device, memory, notifier.clone())?;
        Self::with_core(core, notifier).map_err(RestoreError::EventFd)
    }

    fn with_core(core: Core, notifier: Notifier) -> io::Result<Self> {
        let kicks = (0..core.queue_count())
            .map(|_| EventFd::new(EFD_NONBLOCK))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            poll_fd: core.device().poll_fd(),
            core: Mutex::new(core),
            landed: Condvar::new(),
            waiting: AtomicUsize::new(0),
            notifier,
            kicks,
        })
    }

    /// One eventfd per queue, in order. KVM should signal number i when the guest writes i, as 32 bits, at
    /// [`QUEUE_NOTIFY`]; without an ioeventfd the write arrives in [`MmioTransport::write`] and has the same effect.
    #[must_use]
    pub fn kicks(&self) -> &[EventFd] {
        &self.kicks
    }

    /// Does something with the device that only its type knows: changes a target, reads counters. From any thread, whether
    /// the device runs or not; none if the device is not a `D`. It does not wait for requests in flight.
    pub fn with_device<D: VirtioDevice, R>(&self, act: impl FnOnce(&mut D) -> R) -> Option<R> {
        self.lock().device_as().map(act)
    }

    /// See [`Core::pause`]. Pause the vCPUs first.
    pub fn pause(&self) {
        self.lock().pause();
    }

    /// See [`Core::resume`]. Resume the vCPUs afterwards.
    pub fn resume(&self) {
        let running = self.lock().resume();
        if running {
            self.kick_all();
        }
    }

    /// See [`Core::save`]. Waits until nothing is in flight, which may be for ever: [`MmioTransport::in_flight`] tells before.
    #[must_use]
    pub fn save(&self) -> TransportState {
        let mut core = self.lock();
        core.hold();
        loop {
            core.drain();
            if core.in_flight() == 0 {
                return core.save();
            }
            core = self.wait(core);
        }
    }

    /// The same, but waits no longer than `patience`: then there is nothing saved, and the device
    /// is paused as it was.
    #[must_use]
    pub fn save_within(&self, patience: Duration) -> Option<TransportState> {
        let until = Instant::now() + patience;
        let mut core = self.lock();
        core.hold();
        loop {
            core.drain();
            if core.in_flight() == 0 {
                return Some(core.save());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                core.give_up();
                return None;
            }
            core = self.wait_for(core, left);
        }
    }

    /// How many requests the host still works on. As long as there are any, also of a paused device, it may write to their
    /// buffers in the guest's memory.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.lock().in_flight()
    }

    /// Waits until a reset that was asked for is done ([`Written::Resets`]): for as long as the host takes.
    pub fn await_reset(&self) {
        let mut core = self.lock();
        while core.is_resetting() {
            core = self.wait(core);
        }
    }

    /// A vCPU reads `data.len()` bytes at `offset`. Registers are 32 bits wide and aligned; any other access reads zeros.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        if let Some(offset) = offset.checked_sub(CONFIG) {
            return self.lock().read_config(offset, data);
        }
        data.fill(0);
        if let Ok(data) = <&mut [u8; 4]>::try_from(data)
            && offset.is_multiple_of(4)
        {
            *data = self.read_register(offset).to_le_bytes();
        }
    }

    /// A vCPU writes at `offset`. Registers are 32 bits wide and aligned; any other access does nothing.
    pub fn write(&self, offset: u64, data: &[u8]) -> Written {
        if let Some(offset) = offset.checked_sub(CONFIG) {
            self.lock().write_config(offset, data);
        } else if let Ok(data) = <[u8; 4]>::try_from(data)
            && offset.is_multiple_of(4)
        {
            return self.write_register(offset, u32::from_le_bytes(data));
        }
        Written::Done
    }

    fn read_register(&self, offset: u64) -> u32 {
        match offset {
            0x00 => MAGIC,
            0x04 => VERSION,
            0x08 => self.lock().device().device_type() as u32,
            0x0c => VENDOR,
            0x10 => self.lock().device_features(),
            0x34 => self.lock().queue().map_or(0, |queue| queue.max_size.into()),
            0x44 => self.lock().queue().map_or(0, |queue| queue.ready.into()),
            0x60 => self.notifier.isr(),
            0x70 => self.lock().status().into(),
            0xb0 | 0xb4 | 0xb8 | 0xbc => NO_REGION,
            0xfc => self.notifier.generation(),
            _ => 0,
        }
    }

    fn write_register(&self, offset: u64, value: u32) -> Written {
        match offset {
            QUEUE_NOTIFY => self.kick(value),
            0x64 => self.notifier.acknowledge(value),
            0x70 => return self.write_status(value),
            _ => self.lock().write_setting(offset, value),
        }
        Written::Done
    }

    fn write_status(&self, value: u32) -> Written {
        let Ok(value) = u8::try_from(value) else {
            return Written::Done;
        };
        let mut core = self.lock();
        let running = core.set_status(value);
        if core.is_resetting() {
            return Written::Resets;
        }
        // The guard must be gone before the kicks, which wake the event loop.
        drop(core);
        if running {
            self.kick_all();
        } else if value == 0 {
            // What a reset leaves to be done is not for a vCPU.
            self.kick(0);
        }
        Written::Done
    }

    /// A queue was kicked: requests are begun, and what may take long is done here, without the lock.
    pub fn on_kick(&self, queue: u16) {
        self.work(self.begin_kick(queue));
    }

    /// The same without what may take long: that comes back, for [`MmioTransport::work`].
    #[must_use]
    pub fn begin_kick(&self, queue: u16) -> Option<Box<dyn Job>> {
        let mut core = self.lock();
        let progress = core.notify(queue);
        let job = core.take_job();
        drop(core);
        if progress == Progress::More {
            // Behind what else is ready: one busy queue must not starve the others.
            self.kick(queue.into());
        }
        job
    }

    /// [`MmioTransport::poll_fd`] is readable.
    pub fn on_poll(&self) {
        self.work(self.begin_poll());
    }

    /// The same without what may take long.
    #[must_use]
    pub fn begin_poll(&self) -> Option<Box<dyn Job>> {
        let mut core = self.lock();
        let progress = core.poll();
        let job = core.take_job();
        drop(core);
        self.wake();
        if progress == Progress::More {
            self.kick_all();
        }
        job
    }

    /// The descriptor of the device's own, if it has one: readable when [`MmioTransport::on_poll`] is to be called.
    #[must_use]
    pub fn poll_fd(&self) -> Option<RawFd> {
        self.poll_fd
    }

    /// Does a job and what follows from it. It may take long.
    pub fn work(&self, first: Option<Box<dyn Job>>) {
        let mut next = first;
        for turn in 1.. {
            let Some(mut job) = next.take() else {
                return;
            };
            job.run();
            let mut core = self.lock();
            let finished = core.finish(job);
            let last = turn >= JOBS;
            let mut progress = Progress::Done;
            if let Finished::Queue(queue) = finished
                && !last
            {
                progress = core.notify(queue);
            }
            next = core.take_job();
            drop(core);
            self.wake();
            match finished {
                Finished::Queue(queue) if last || progress == Progress::More => {
                    self.kick(queue.into());
                }
                Finished::AllQueues => self.kick_all(),
                _ => {}
            }
        }
    }

    fn wait<'a>(&self, core: MutexGuard<'a, Core>) -> MutexGuard<'a, Core> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waited = self.landed.wait(core);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<'a>(&self, core: MutexGuard<'a, Core>, time: Duration) -> MutexGuard<'a, Core> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waited = self.landed.wait_timeout(core, time);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wakes those who wait. Called behind a change that was made under the lock: who counted itself under the lock before that
    /// is seen here, and who takes the lock later sees the change.
    fn wake(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.landed.notify_all();
        }
    }

    fn kick(&self, queue: u32) {
        let kick = usize::try_from(queue)
            .ok()
            .and_then(|queue| self.kicks.get(queue));
        if let Some(kick) = kick {
            // It can only fail when 2^64 - 2 kicks are pending, and then the queue is known to have work.
            let _ = kick.write(1);
        }
    }

    fn kick_all(&self) {
        (0..)
            .take(self.kicks.len())
            .for_each(|queue| self.kick(queue));
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// The registers that only store something.
    fn write_setting(&mut self, offset: u64, value: u32) {
        match offset {
            0x14 => self.device_features_select = value,
            0x20 => self.set_driver_features(value),
            0x24 => self.driver_features_select = value,
            0x30 => self.queue_select = value,
            0x38 => self.set_queue_size(value),
            0x44 => self.set_queue_ready(value == 1),
            0x80 => self.set_queue_address(Area::Descriptors, Half::Low, value),
            0x84 => self.set_queue_address(Area::Descriptors, Half::High, value),
            0x90 => self.set_queue_address(Area::Driver, Half::Low, value),
            0x94 => self.set_queue_address(Area::Driver, Half::High, value),
            0xa0 => self.set_queue_address(Area::Device, Half::Low, value),
            0xa4 => self.set_queue_address(Area::Device, Half::High, value),
            _ => {}
        }
    }
}

/// The event loop's side. Everything is registered once and stays so: kicks that come while the device is stopped do
/// nothing, so no vCPU ever has to talk to the event manager.
impl EventSubscriber for MmioTransport {
    fn init(&self, ops: &mut EventOps<'_>) {
        // Edge-triggered kicks need not be read: each write is an edge of its own, and the counter never fills up.
        let edge = EventSet::IN | EventSet::EDGE_TRIGGERED;
        let kicks = self
            .kicks
            .iter()
            .zip(0..)
            .map(|(kick, queue)| Events::with_data(kick, queue, edge));
        let poll = self
            .poll_fd
            .map(|fd| Events::with_data_raw(fd, POLL, EventSet::IN));
        for events in kicks.chain(poll) {
            if let Err(error) = ops.add(events) {
                tracing::error!(%error, "a device is not in the event loop and will not work");
            }
        }
    }

    fn process(&self, events: Events, _ops: &mut EventOps<'_>) {
        match events.data() {
            POLL => self.on_poll(),
            queue => {
                if let Ok(index) = u16::try_from(queue) {
                    self.on_kick(index);
                }
            }
        }
    }
}
