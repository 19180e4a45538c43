//! A machine that runs: its event loop, to its end.

use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use hull_devices::GuestMemory;
use hull_vm_api::{Draft, ExitCause, Metadata, Stage};
use kvm_ioctls::VmFd;

use crate::api::{Host, Late};
use crate::ending::{End, Ending};
use crate::error::StartError;
use crate::keeper::channel::Channel;
use crate::keeper::message::{Order, Report};
use crate::metrics::{self, Latencies, Source};
use crate::outside::Wish;
use crate::power_button::PowerButton;
use crate::serial::Serial;
use crate::vcpu::Shared;
use crate::vcpus::Vcpus;
use crate::virtio::Virtio;

/// Events that the loop takes in one turn.
const EVENTS: usize = 32;

/// What the event loop runs.
type Loop = EventManager<Box<dyn MutEventSubscriber>>;

/// A machine whose vCPUs have their threads.
pub(crate) struct Running {
    /// Running or paused.
    pub stage: Stage,
    /// What it is, with all changes since the start.
    pub config: Draft,
    /// What the guest can ask for.
    pub metadata: Metadata,
    pub vcpus: Vcpus,
    pub virtio: Virtio,
    pub serial: Option<Serial>,
    pub button: PowerButton,
    pub latencies: Arc<Latencies>,
    /// Changes of devices that were not waited for to their end.
    pub late: Late,
    pub shared: Shared,
    /// Gone after its vCPUs, and before the memory that it knows of.
    pub vm: VmFd,
    /// It must not go while something can still touch it.
    pub _memory: GuestMemory,
}

impl Running {
    /// Runs the machine to its end, and takes it apart.
    ///
    /// # Errors
    /// If the host refuses events.
    pub(crate) fn run(mut self, keeper: &mut Channel, host: &mut Host) -> Result<End, StartError> {
        host.figures
            .measure(self.shared.counters.clone(), self.sources());
        let bell = Bell::new(&self, keeper);
        let rang = bell.rang.clone();
        let mut events = self.event_loop(bell)?;
        let end = loop {
            if let Some(end) = self.shared.ending.get() {
                break end.clone();
            }
            let due = host.figures.due();
            let due = due.and_then(|due| i32::try_from(due.as_millis().saturating_add(1)).ok());
            events.run_with_timeout(due.unwrap_or(-1))?;
            if host.figures.due().is_some_and(|due| due.is_zero()) {
                write_figures(host);
            }
            if rang.take() {
                self.obey(keeper, host);
            }
        };
        self.vcpus.stop();
        if let Some(serial) = self.serial.take() {
            serial.finish();
        }
        self.virtio.finish_output();
        metrics::log(&self.shared.counters);
        host.figures.write_last(end.cause);
        Ok(end)
    }

    /// All who count something of the machine.
    fn sources(&self) -> Vec<Source> {
        let mut sources = self.virtio.sources();
        sources.push(Source::new("vcpu", self.shared.counters.clone()));
        if let Some(serial) = &self.serial {
            sources.push(Source::new("uart", serial.counters.clone()));
        }
        sources.push(Source::new("latencies_us", self.latencies.clone()));
        sources
    }

    fn event_loop(&mut self, bell: Bell) -> Result<Loop, StartError> {
        let mut events = Loop::new_with_capacity(EVENTS)?;
        events.add_subscriber(Box::new(bell));
        let input = self.serial.as_mut().and_then(|serial| serial.input.take());
        if let Some(input) = input {
            events.add_subscriber(Box::new(input));
        }
        for transport in self.virtio.transports() {
            events.add_subscriber(Box::new(transport));
        }
        Ok(events)
    }

    fn fulfil(&mut self, wish: Wish) {
        match wish {
            Wish::PowerOff => {
                let when = match self.stage {
                    Stage::Paused => "; it is paused, and is asked when it is resumed",
                    _ => "",
                };
                tracing::info!(
                    "asking the guest to power off; another SIGTERM ends it at once{when}"
                );
                self.button.press();
            }
            Wish::End(cause) => self.shared.ending.announce(cause),
        }
    }

    /// Does what the keeper wants; without a keeper there is to be no machine.
    fn obey(&mut self, keeper: &mut Channel, host: &mut Host) {
        while self.shared.ending.get().is_none() {
            let done = match keeper.receive() {
                Ok(None) => return,
                Ok(Some(Order::Fulfil(wish))) => {
                    self.fulfil(wish);
                    Ok(())
                }
                Ok(Some(Order::Answer(request))) => {
                    host.figures.learn(request.counted());
                    let request = request.parse();
                    let answer = request.and_then(|request| self.answer(&request, host));
                    let answered = keeper.send(&Report::answer(answer));
                    answered.and_then(|()| keeper.flush_all())
                }
                Ok(Some(Order::Start(_))) => Ok(()),
                Err(error) => Err(error),
            };
            if done.is_err() {
                self.shared.ending.announce(ExitCause::ParentGone);
            }
        }
    }
}

fn write_figures(host: &mut Host) {
    if let Err(error) = host.figures.write(None) {
        tracing::warn!("the metrics could not be written: {error}");
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// Wakes the loop up when the keeper wants something, or the machine has ended.
struct Bell {
    fds: [RawFd; 2],
    ending: Arc<Ending>,
    rang: Rc<Cell<bool>>,
}

impl Bell {
    fn new(running: &Running, keeper: &Channel) -> Self {
        let ending = running.shared.ending.event().as_raw_fd();
        Self {
            fds: [keeper.as_raw_fd(), ending],
            ending: running.shared.ending.clone(),
            // Something may have come before the loop began.
            rang: Rc::new(Cell::new(true)),
        }
    }
}

impl MutEventSubscriber for Bell {
    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        self.rang.set(true);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        for fd in &self.fds {
            if let Err(error) = ops.add(Events::new_raw(*fd, EventSet::IN)) {
                let detail = format!("the event loop does not take a descriptor: {error}");
                self.ending.announce_with(ExitCause::Failure, detail);
            }
        }
    }
}
