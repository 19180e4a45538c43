//! A machine that runs: its event loop, to its end.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use hull_devices::GuestMemory;
use hull_vm_api::config::Reboot;
use hull_vm_api::{Draft, ExitCause, Metadata, Stage, VmConfig};
use kvm_ioctls::{Kvm, VmFd};
use vm_memory::{FileOffset, GuestMemoryBackend, GuestMemoryRegion};

use crate::api::{Host, Later};
use crate::ending::{End, Ending};
use crate::error::StartError;
use crate::keeper::channel::Channel;
use crate::keeper::message::{Order, Report};
use crate::legacy::I8042;
use crate::machine::{Boot, Machine};
use crate::metrics::{self, Latencies, Source};
use crate::outside::Wish;
use crate::power_button::PowerButton;
use crate::program;
use crate::restarts::{self, Restarts};
use crate::serial::Serial;
use crate::snapshot::errands::Errands;
use crate::snapshot::format::v1::MemoryLabel;
use crate::vcpu::Shared;
use crate::vcpus::Vcpus;
use crate::virtio::Virtio;

/// Events that the loop takes in one turn.
const EVENTS: usize = 32;

/// How long the end of a machine may take until its working set is written.
const PATIENCE_AT_END: Duration = Duration::from_secs(5);

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
    /// Requests that wait for the host.
    pub later: Later,
    pub shared: Shared,
    pub keyboard: Arc<Mutex<I8042>>,
    /// Who writes snapshots.
    pub errands: Errands,
    /// The last snapshot that was taken of it, or that it comes from.
    pub last_snapshot: Option<MemoryLabel>,
    /// What it boots with when its guest reboots.
    pub boot: Option<Boot>,
    pub kvm: Kvm,
    /// Gone after its vCPUs, and before the memory that it knows of.
    pub vm: Arc<VmFd>,
    /// It must not go while something can still touch it.
    pub _memory: GuestMemory,
}

impl Running {
    /// Runs the machine to its end, and takes it apart. A guest that reboots is started again if its configuration says so; a
    /// triple fault is a reboot as well, since it resets a PC.
    ///
    /// # Errors
    /// If the host refuses events, or what the guest needs to start again.
    pub(crate) fn run(mut self, keeper: &mut Channel, host: &mut Host) -> Result<End, StartError> {
        let mut restarts = Restarts::default();
        loop {
            let end = self.live(keeper, host)?;
            let end = self.look_into(end);
            let reset = matches!(end.cause, ExitCause::Reboot | ExitCause::TripleFault);
            let again = self.config.machine_config.reboot == Reboot::Restart;
            if !reset || !again {
                return self.finish(end, host);
            }
            let Some(number) = restarts.next(Instant::now()) else {
                let detail = format!(
                    "more than {} times within {} s, so it is not started again",
                    restarts::MOST,
                    restarts::PERIOD.as_secs()
                );
                let (cause, detail) = (end.cause, Some(detail));
                return self.finish(End { cause, detail }, host);
            };
            tracing::info!("{}; starting it again, for the {number}. time", end.cause);
            host.figures.start_again();
            self = match self.restart(host) {
                Ok(running) => running,
                Err(error) => {
                    host.figures.write_last(error.cause());
                    return Err(error);
                }
            };
        }
    }

    /// Runs the machine until it ends.
    fn live(&mut self, keeper: &mut Channel, host: &mut Host) -> Result<End, StartError> {
        host.figures
            .measure(self.shared.counters.clone(), self.sources());
        let bell = Bell::new(self, keeper);
        let rang = bell.rang.clone();
        let mut events = self.event_loop(bell)?;
        program::forget_start();
        loop {
            if let Some(end) = self.shared.ending.get() {
                for report in self.later.give_up() {
                    // Without a keeper there is nobody to be told.
                    let _ = tell(keeper, &report);
                }
                return Ok(end.clone());
            }
            let recorded = self.virtio.recorder().and_then(|recorder| recorder.due());
            if recorded.is_some_and(|due| due.is_zero()) {
                self.end_recording(Duration::ZERO);
                continue;
            }
            let due = host.figures.due().into_iter();
            let due = due.chain(self.later.due()).chain(recorded).min();
            let due = due.and_then(|due| i32::try_from(due.as_millis().saturating_add(1)).ok());
            events.run_with_timeout(due.unwrap_or(-1))?;
            if host.figures.due().is_some_and(|due| due.is_zero()) {
                write_figures(host);
            }
            while let Some(report) = self.end_waiting() {
                if tell(keeper, &report).is_err() {
                    self.shared.ending.announce(ExitCause::ParentGone);
                }
            }
            if rang.take() {
                self.button.go_on();
                self.obey(keeper, host);
            }
        }
    }

    /// A crash may have its cause outside of the guest: where its kernel is interpreted, lost pages of code are faults of its own.
    fn look_into(&self, end: End) -> End {
        let crashed = matches!(end.cause, ExitCause::TripleFault | ExitCause::KvmFailure);
        let is_short = |part: &FileOffset, length: u64| {
            let there = part.file().metadata().map_or(u64::MAX, |file| file.len());
            there < part.start().saturating_add(length)
        };
        let memory = self.virtio.own_memory();
        let mut regions = memory.iter();
        let is_lost = regions.any(|region| {
            let part = region.file_offset();
            part.is_some_and(|part| is_short(part, region.len()))
        });
        if !crashed || !is_lost {
            return end;
        }
        End {
            cause: ExitCause::NoResource,
            detail: Some(
                "the file of the snapshot's memory was made shorter while it was mapped".to_owned(),
            ),
        }
    }

    /// Makes the machine anew from what it is now, and starts that. Everything of the old one goes before.
    fn restart(self, host: &Host) -> Result<Self, StartError> {
        let (config, metadata) = (self.config.clone(), self.metadata.clone());
        let timeline = self.shared.timeline.clone();
        // What comes from a snapshot has one if it is to be started again.
        let boot = self.boot.clone().ok_or(StartError::NoConfig)?;
        self.take_apart().then_some(()).ok_or(StartError::Stuck)?;
        let whole = VmConfig {
            serial: boot.serial,
            ..config.clone().map_boot_source(|_| boot.source)
        };
        let machine = Machine::new(&whole, &metadata, (&host.files, &timeline), None)?;
        machine.start(config, metadata, host.files.confinement())
    }

    /// Stops everything, and brings out what is on its way; whether nothing is left.
    fn take_apart(mut self) -> bool {
        let stopped = self.vcpus.stop();
        if let Some(serial) = self.serial.take() {
            serial.finish();
        }
        self.virtio.finish_output();
        stopped
    }

    /// Takes the machine apart for the last time.
    fn finish(mut self, end: End, host: &mut Host) -> Result<End, StartError> {
        let exits = self.shared.counters.clone();
        self.end_recording(PATIENCE_AT_END);
        self.take_apart();
        metrics::log(&exits);
        host.figures.write_last(end.cause);
        Ok(end)
    }

    /// Ends the recording of a working set, if there is one, and waits so long until it is written.
    pub(crate) fn end_recording(&mut self, patience: Duration) {
        if let Some(recorder) = self.virtio.recorder() {
            recorder.end(&self.errands, patience);
        }
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
                    let answer = match request.parse() {
                        Ok(request) => self.take_request(request, host),
                        Err(fault) => Some(Err(fault)),
                    };
                    answer.map_or(Ok(()), |answer| tell(keeper, &Report::answer(answer)))
                }
                Ok(Some(Order::Start(_) | Order::Restore(_))) => Ok(()),
                Err(error) => Err(error),
            };
            if done.is_err() {
                self.shared.ending.announce(ExitCause::ParentGone);
            }
        }
    }
}

/// Tells the keeper what became of a request.
fn tell(keeper: &mut Channel, report: &Report) -> io::Result<()> {
    keeper.send(report)?;
    keeper.flush_all()
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
    fds: [RawFd; 4],
    ending: Arc<Ending>,
    rang: Rc<Cell<bool>>,
}

impl Bell {
    fn new(running: &Running, keeper: &Channel) -> Self {
        let ending = running.shared.ending.event().as_raw_fd();
        Self {
            fds: [
                keeper.as_raw_fd(),
                ending,
                running.later.bell(),
                running.button.bell(),
            ],
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
