//! What every transport does: features, status, queues, start and stop (virtio 1.2, sections 2 and 3).
//!
//! A transport (MMIO here, PCI later) turns registers into calls of this; it is locked by its transport. Nothing here
//! depends on how registers are laid out.

use std::any::Any;

use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};

use super::state::{RestoreError, TransportState};
use super::status::{self, DRIVER_OK, FAILED, FEATURES_OK, NEEDS_RESET, Step};
use crate::device::{Finished, Job, Resources};
use crate::{GuestMemory, Notifier, Progress, QueueState, VirtioDevice, Virtqueue};

/// The device follows version 1 of the specification (section 6). Drivers that don't are not served.
pub const VERSION_1: u64 = 1 << 32;
const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
const INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// Which part of a 64-bit address a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Bits 0 to 31.
    Low,
    /// Bits 32 to 63.
    High,
}

/// One of the three areas that make a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The descriptor table.
    Descriptors,
    /// The available ring, called the driver area.
    Driver,
    /// The used ring, called the device area.
    Device,
}

/// Whether the device has its queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It never started, or was reset, or could not start.
    Idle,
    /// It works.
    Running,
    /// It would work, but the microVM is paused.
    Paused,
    /// The driver reset it, but the host still works on requests, and may write to the guest's memory.
    Resetting,
}

/// A device with the part of its registers that all transports share.
#[derive(Debug)]
pub struct Core {
    device: Box<dyn VirtioDevice>,
    memory: GuestMemory,
    notifier: Notifier,
    status: u8,
    driver_features: u64,
    /// The registers that select a half of the features, and a queue. Public, because they are only storage.
    pub device_features_select: u32,
    /// See above.
    pub driver_features_select: u32,
    /// See above.
    pub queue_select: u32,
    /// What the driver set up; while the device runs, what it was started with.
    queues: Vec<QueueState>,
    phase: Phase,
    /// No request is begun, because the device is about to be saved.
    held: bool,
}

impl Core {
    /// A device after power-on.
    #[must_use]
    pub fn new(device: Box<dyn VirtioDevice>, memory: GuestMemory, notifier: Notifier) -> Self {
        let queues = device
            .queue_sizes()
            .iter()
            .map(|size| QueueState::new(*size))
            .collect();
        Self {
            device,
            memory,
            notifier,
            status: 0,
            driver_features: 0,
            device_features_select: 0,
            driver_features_select: 0,
            queue_select: 0,
            queues,
            phase: Phase::Idle,
            held: false,
        }
    }

    /// A device as it was saved. If its driver had started it, it is paused and begins with [`Core::resume`].
    ///
    /// # Errors
    /// [`RestoreError`] if the state fits neither the device nor the specification.
    pub fn restore(
        state: &TransportState,
        device: Box<dyn VirtioDevice>,
        memory: GuestMemory,
        notifier: Notifier,
    ) -> Result<Self, RestoreError> {
        let mut core = Self::new(device, memory, notifier);
        if !status::is_reachable(state.status) {
            return Err(RestoreError::Status(state.status));
        }
        let offered = core.offered();
        if state.driver_features & !offered != 0 && state.status & FEATURES_OK != 0 {
            return Err(RestoreError::Features {
                saved: state.driver_features,
                offered,
            });
        }
        let sizes = |queues: &[QueueState]| queues.iter().map(|q| q.max_size).collect::<Vec<_>>();
        if sizes(&state.queues) != sizes(&core.queues) {
            return Err(RestoreError::Queues {
                saved: sizes(&state.queues),
                wanted: sizes(&core.queues),
            });
        }
        core.status = state.status & !NEEDS_RESET;
        core.driver_features = state.driver_features;
        core.device_features_select = state.device_features_select;
        core.driver_features_select = state.driver_features_select;
        core.queue_select = state.queue_select;
        core.queues.clone_from(&state.queues);
        core.notifier
            .restore(state.isr, state.generation, state.needs_reset);
        if core.status & DRIVER_OK != 0 && core.status & FAILED == 0 && !state.needs_reset {
            for (index, queue) in core.queues.iter().enumerate() {
                Virtqueue::new(*queue, core.event_idx(), &core.memory)
                    .map_err(|source| RestoreError::Queue { index, source })?;
            }
            core.phase = Phase::Paused;
        }
        Ok(core)
    }

    /// Lets no further request begin, so that those in flight come to their end. A paused device is started for it: what the
    /// driver is owed goes into its rings. [`Core::save`] ends this, and so does [`Core::give_up`].
    pub fn hold(&mut self) {
        self.held = true;
        self.resume();
    }

    /// Lets requests begin again, after a [`Core::hold`] that led to nothing. The device is paused.
    pub fn give_up(&mut self) {
        self.held = false;
        self.pause();
    }

    /// How many requests the host still works on.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.device.in_flight()
    }

    /// See [`VirtioDevice::drain`].
    pub fn drain(&mut self) {
        self.device.drain();
        self.settle();
    }

    /// What the registers and the device hold. A running device is stopped for it, so a caller that wants to go on
    /// resumes it. Nothing may be in flight.
    pub fn save(&mut self) -> TransportState {
        self.held = false;
        self.pause();
        TransportState {
            status: self.status,
            needs_reset: self.notifier.is_lost(),
            driver_features: self.driver_features,
            device_features_select: self.device_features_select,
            driver_features_select: self.driver_features_select,
            queue_select: self.queue_select,
            isr: self.notifier.isr(),
            generation: self.notifier.generation(),
            queues: self.queues.clone(),
            device: self.device.save(),
        }
    }

    /// Stops the device, if it runs, and does not wait for anything: requests in flight stay there. Afterwards nothing
    /// touches the guest's memory but they, and they only the buffers that they were given.
    pub fn pause(&mut self) {
        if self.phase == Phase::Running {
            self.queues = self.device.stop();
            self.phase = Phase::Paused;
        }
    }

    /// Starts the device where it was paused; true if it runs now. The caller then announces all queues to it, for kicks
    /// may have been lost.
    pub fn resume(&mut self) -> bool {
        if self.phase != Phase::Paused {
            return false;
        }
        self.start();
        if self.phase == Phase::Running {
            self.notifier.repeat(self.queue_count());
        }
        self.phase == Phase::Running
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &dyn VirtioDevice {
        self.device.as_ref()
    }

    /// The device, if it is a `D`, for what only a `D` can do.
    pub fn device_as<D: VirtioDevice>(&mut self) -> Option<&mut D> {
        let device: &mut dyn Any = self.device.as_mut();
        device.downcast_mut()
    }

    /// How many queues there are.
    #[must_use]
    pub fn queue_count(&self) -> u16 {
        u16::try_from(self.queues.len()).unwrap_or(u16::MAX)
    }

    /// The driver kicked a queue.
    pub fn notify(&mut self, queue: u16) -> Progress {
        if self.phase != Phase::Running || self.held || self.notifier.is_lost() {
            return Progress::Done;
        }
        self.device.notify(queue)
    }

    /// The device's own descriptors are ready.
    pub fn poll(&mut self) -> Progress {
        let progress = self.device.poll();
        self.settle();
        progress
    }

    /// See [`VirtioDevice::take_job`].
    pub fn take_job(&mut self) -> Option<Box<dyn Job>> {
        self.device.take_job()
    }

    /// See [`VirtioDevice::finish`].
    pub fn finish(&mut self, job: Box<dyn Job>) -> Finished {
        let finished = self.device.finish(job);
        self.settle();
        finished
    }

    /// Whether a reset waits for requests in flight.
    #[must_use]
    pub fn is_resetting(&self) -> bool {
        self.phase == Phase::Resetting
    }

    /// Completes a reset that waited, if nothing is in flight any more.
    fn settle(&mut self) {
        if self.phase == Phase::Resetting && self.device.in_flight() == 0 {
            self.complete_reset();
        }
    }

    /// The selected half of what the device offers.
    #[must_use]
    pub fn device_features(&self) -> u32 {
        half_of(self.offered(), self.device_features_select)
    }

    /// The driver takes features. After FEATURES_OK it can't change its mind (section 3.1.1).
    pub fn set_driver_features(&mut self, value: u32) {
        if self.status & FEATURES_OK != 0 {
            return;
        }
        let value = u64::from(value);
        match self.driver_features_select {
            0 => self.driver_features = self.driver_features & !0xffff_ffff | value,
            1 => self.driver_features = self.driver_features & 0xffff_ffff | value << 32,
            _ => {}
        }
    }

    /// The status register.
    #[must_use]
    pub fn status(&self) -> u8 {
        if self.notifier.is_lost() {
            self.status | NEEDS_RESET
        } else {
            self.status
        }
    }

    /// The driver writes the status register; true if the device runs from now on. The caller then announces all queues.
    ///
    /// A reset with requests in flight is not done at once (see [`Core::is_resetting`]): until then the register keeps its
    /// value, as section 2.4.2 has it, and takes no other.
    pub fn set_status(&mut self, value: u8) -> bool {
        if self.phase == Phase::Resetting {
            return false;
        }
        match status::step(self.status, value) {
            Step::Accept => self.status = value & !NEEDS_RESET,
            Step::GiveUp => self.status |= FAILED,
            Step::CheckFeatures => {
                if self.features_are_good() {
                    self.status = value & !NEEDS_RESET;
                }
            }
            Step::Start => {
                self.status = value & !NEEDS_RESET;
                self.start();
                return self.phase == Phase::Running;
            }
            Step::Reset => self.reset(),
            Step::Ignore => tracing::debug!(
                device = ?self.device.device_type(),
                from = self.status,
                to = value,
                "the driver left the order of device status"
            ),
        }
        false
    }

    /// The selected queue, if there is one.
    #[must_use]
    pub fn queue(&self) -> Option<&QueueState> {
        self.queues.get(usize::try_from(self.queue_select).ok()?)
    }

    /// The driver sets the selected queue's size. What can't be is kept until the queue is checked at the start.
    pub fn set_queue_size(&mut self, size: u32) {
        if let Some(queue) = self.settable_queue()
            && let Ok(size) = u16::try_from(size)
        {
            queue.size = size;
        }
    }

    /// The driver places an area of the selected queue.
    pub fn set_queue_address(&mut self, area: Area, half: Half, value: u32) {
        let Some(queue) = self.settable_queue() else {
            return;
        };
        let address = match area {
            Area::Descriptors => &mut queue.desc_table,
            Area::Driver => &mut queue.avail_ring,
            Area::Device => &mut queue.used_ring,
        };
        let value = u64::from(value);
        *address = match half {
            Half::Low => *address & !0xffff_ffff | value,
            Half::High => *address & 0xffff_ffff | value << 32,
        };
    }

    /// The driver says that the selected queue is set up, or takes that back.
    pub fn set_queue_ready(&mut self, ready: bool) {
        if self.may_set_queues()
            && let Ok(index) = usize::try_from(self.queue_select)
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.ready = ready;
        }
    }

    /// Reads the device's configuration space.
    pub fn read_config(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        self.device.read_config(offset, data);
    }

    /// Writes the device's configuration space.
    pub fn write_config(&mut self, offset: u64, data: &[u8]) {
        if self.status & status::DRIVER != 0 {
            self.device.write_config(offset, data);
        }
    }

    fn offered(&self) -> u64 {
        self.device.features() | VERSION_1 | EVENT_IDX | INDIRECT
    }

    fn event_idx(&self) -> bool {
        self.driver_features & EVENT_IDX != 0
    }

    fn features_are_good(&self) -> bool {
        self.driver_features & !self.offered() == 0 && self.driver_features & VERSION_1 != 0
    }

    fn may_set_queues(&self) -> bool {
        self.status & FEATURES_OK != 0 && self.status & (DRIVER_OK | FAILED) == 0
    }

    /// The selected queue, while the driver may still change it: not once it said that it is ready, for a device must
    /// never see a queue move (section 4.2.2.2).
    fn settable_queue(&mut self) -> Option<&mut QueueState> {
        if !self.may_set_queues() {
            return None;
        }
        let index = usize::try_from(self.queue_select).ok()?;
        self.queues.get_mut(index).filter(|queue| !queue.ready)
    }

    fn start(&mut self) {
        self.phase = Phase::Idle;
        let event_idx = self.event_idx();
        let queues: Result<Vec<_>, _> = self
            .queues
            .iter()
            .map(|state| Virtqueue::new(*state, event_idx, &self.memory))
            .collect();
        let started = queues
            .map_err(|error| error.to_string())
            .and_then(|queues| {
                let resources = Resources {
                    memory: self.memory.clone(),
                    queues,
                    features: self.driver_features,
                    notifier: self.notifier.clone(),
                };
                self.device
                    .start(resources)
                    .map_err(|error| error.to_string())
            });
        match started {
            Ok(()) => self.phase = Phase::Running,
            Err(error) => {
                if self.notifier.may_complain() {
                    tracing::warn!(device = ?self.device.device_type(), error, "a device did not start");
                }
                self.notifier.needs_reset();
            }
        }
    }

    fn reset(&mut self) {
        if self.phase == Phase::Running {
            self.device.stop();
        }
        self.phase = Phase::Resetting;
        self.settle();
    }

    fn complete_reset(&mut self) {
        self.device.reset();
        self.phase = Phase::Idle;
        self.status = 0;
        self.driver_features = 0;
        self.device_features_select = 0;
        self.driver_features_select = 0;
        self.queue_select = 0;
        for queue in &mut self.queues {
            *queue = QueueState::new(queue.max_size);
        }
        self.notifier.reset();
    }
}

/// Bits 0 to 31 or 32 to 63 of a feature set; other selections have no features.
fn half_of(features: u64, select: u32) -> u32 {
    let half = match select {
        0 => features,
        1 => features >> 32,
        _ => 0,
    };
    // Masked, so nothing is lost.
    u32::try_from(half & 0xffff_ffff).unwrap_or_default()
}
