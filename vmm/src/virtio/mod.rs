//! The machine's virtio devices: which there are, where they sit, and how KVM connects them with the guest.
//!
//! A notification of the guest becomes an event of the event loop (ioeventfd), and an event of a device becomes an interrupt of the
//! guest (irqfd), both without a vCPU coming out to this process.

mod devices;
mod disk;
mod extra;
mod lane;
mod net;
mod rate;
mod saved;
mod share;
mod slots;
mod tap;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hull_arch::layout::{self, VirtioSlot};
use hull_devices::metrics::Metrics;
use hull_devices::net::mmds::Mmds;
use hull_devices::rate::RateControl;
use hull_devices::vsock::Dialer;
use hull_devices::{
    Cause, GuestMemory, Interrupt, MMIO_SIZE, MmioTransport, QUEUE_NOTIFY, TransportState,
    VirtioDevice, Written,
};
use hull_vm_api::{Draft, Metadata};
use kvm_ioctls::{IoEventAddress, VmFd};
use vm_memory::Address;

use crate::bus::{Bus, Registers};
use crate::ending::Ending;
use crate::error::StartError;
use crate::files::Files;
use crate::gate::Gate;
use crate::kvm::KvmError;
use crate::legacy::IrqLine;
use crate::metrics::{InterruptCounters, Source};
use crate::relay::Relay;
use crate::sandbox::seccomp::Kind;
use crate::sandbox::{Confinement, Fence};
use crate::snapshot::format::v1::Device;
use crate::snapshot::memory::dirty::Slot;
use crate::snapshot::memory::recording::Recorder;
use crate::snapshot::memory::{Filling, Missing};
use crate::timeline::Timeline;
use devices::{First, Made};
use lane::{Lane, Threads, Way};

pub(crate) use devices::pages;
pub(crate) use disk::{access, assemble, contents};
pub(crate) use extra::{Mappings, Ram, RamOrigin};
pub(crate) use net::filter;
pub(crate) use rate::{bandwidth, change};

/// How long a device's thread may take for what it does before all else.
const PATIENCE_AT_START: Duration = Duration::from_secs(20);

/// Which device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    Drive(String),
    Pmem(String),
    Network(String),
    Share(String),
    Vsock,
    Console,
    Entropy,
    Balloon,
    Hotplug,
}

/// The machine's virtio devices, each in its slot.
#[derive(Debug)]
pub(crate) struct Virtio {
    attached: Vec<Attached>,
    /// The way to ports of the guest, if it has vsock.
    dialer: Option<Dialer>,
    /// The metadata service, if there is one.
    mmds: Option<Mmds>,
    mappings: Mappings,
    /// The guest's memory without files of virtio-pmem.
    own_memory: GuestMemory,
    /// In which slots KVM has that.
    memory_slots: Vec<Slot>,
    /// What is done about it, if it comes from a snapshot.
    filling: Option<Filling>,
    interrupts: Arc<InterruptCounters>,
    /// Threads that carry output.
    relays: Vec<Relay>,
}

struct Attached {
    name: Name,
    slot: VirtioSlot,
    transport: Arc<MmioTransport>,
    rates: Vec<RateControl>,
    metrics: Arc<dyn Metrics>,
    threads: Threads,
    /// What its threads stay in, if it serves a share.
    fence: Option<Arc<Fence>>,
    /// What they do before all else.
    first: Option<First>,
    /// The threads of a device that has some.
    lane: Option<Lane>,
}

/// A device that is to be saved.
#[derive(Debug)]
pub(crate) struct ToBeSaved {
    pub(crate) name: String,
    transport: Arc<MmioTransport>,
    lane: Option<Way>,
}

impl ToBeSaved {
    /// Saves it, in a thread of its own if it has some, for they alone have the rights to what is behind it. None if it has requests
    /// in flight for longer than that.
    #[must_use]
    pub(crate) fn save(&self, patience: Duration) -> Option<TransportState> {
        let Some(lane) = &self.lane else {
            return self.transport.save_within(patience);
        };
        let transport = self.transport.clone();
        // The thread that does it may be late itself.
        let saved = lane.ask(patience * 2, move || transport.save_within(patience));
        saved.flatten()
    }
}

impl Virtio {
    /// Makes the devices and connects them with the machine, which has its RAM already, or restores them; then they are paused. The second
    /// value is all of the guest's memory.
    ///
    /// # Errors
    /// What a device lacks, or what KVM refused.
    pub(crate) fn new(
        config: &Draft,
        metadata: &Metadata,
        host: (&Files, &Arc<Timeline>),
        (vm, ram): (&VmFd, &Ram<'_>),
        saved: Option<&[Device]>,
    ) -> Result<(Self, GuestMemory), StartError> {
        let extra = extra::map(config, host.0, vm, ram)?;
        let opened = devices::open(config, metadata, &extra, host, saved)?;
        let interrupts = Arc::<InterruptCounters>::default();
        let mut attached = Vec::new();
        for (index, (name, made, state)) in (0..).zip(opened.devices) {
            let slot = layout::virtio_slot(index).ok_or(StartError::TooManyDevices)?;
            let line = IrqLine::connect(vm, slot.gsi)
                .map_err(StartError::host("an interrupt line of a device"))?;
            let line = Line {
                line,
                counters: interrupts.clone(),
            };
            let memory = extra.memory.clone();
            let metrics = made.device.metrics();
            let transport = match state {
                None => MmioTransport::new(made.device, memory, Arc::new(line))
                    .map_err(StartError::host("the eventfds of a device"))?,
                Some(state) => {
                    let restored =
                        MmioTransport::restore(state, made.device, memory, Arc::new(line));
                    restored.map_err(|error| saved::unlike(&name, error))?
                }
            };
            listen(vm, slot, &transport)?;
            attached.push(Attached {
                name,
                slot,
                transport: Arc::new(transport),
                rates: made.rates,
                metrics,
                threads: made.threads,
                fence: made.fence.map(Arc::new),
                first: made.first,
                lane: None,
            });
        }
        let virtio = Self {
            attached,
            dialer: opened.dialer,
            mmds: opened.mmds,
            mappings: extra.mappings(),
            own_memory: extra.own,
            memory_slots: extra.slots,
            filling: extra.filling,
            interrupts,
            relays: opened.relays,
        };
        Ok((virtio, extra.memory))
    }

    /// Brings out what is still on its way, at the machine's end.
    pub(crate) fn finish_output(&mut self) {
        self.relays.drain(..).for_each(Relay::finish);
    }

    /// All who count something of devices.
    #[must_use]
    pub(crate) fn sources(&self) -> Vec<Source> {
        let devices = self.attached.iter();
        let mut sources: Vec<_> = devices
            .map(|device| {
                let (section, id) = device.name.section();
                Source {
                    section,
                    id: id.map(str::to_owned),
                    metrics: device.metrics.clone(),
                }
            })
            .collect();
        sources.push(Source::new("interrupts", self.interrupts.clone()));
        sources.extend(
            self.mmds
                .as_ref()
                .map(|mmds| Source::new("mmds", mmds.counters())),
        );
        sources
    }

    /// Where the devices are.
    #[must_use]
    pub(crate) fn slots(&self) -> Vec<VirtioSlot> {
        self.attached.iter().map(|device| device.slot).collect()
    }

    /// The way to ports of the guest, if it has vsock.
    #[must_use]
    pub(crate) fn dialer(&self) -> Option<Dialer> {
        self.dialer.clone()
    }

    /// The metadata service, if there is one.
    #[must_use]
    pub(crate) fn mmds(&self) -> Option<&Mmds> {
        self.mmds.as_ref()
    }

    /// What must live as long as anybody who has the guest's memory.
    #[must_use]
    pub(crate) fn mappings(&self) -> Mappings {
        self.mappings.clone()
    }

    /// The guest's memory as far as it is no file of virtio-pmem: what a snapshot has to have.
    #[must_use]
    pub(crate) fn own_memory(&self) -> GuestMemory {
        self.own_memory.clone()
    }

    /// Who has the pages of that memory that are not there, if somebody does.
    #[must_use]
    pub(crate) fn missing(&self) -> Option<Missing> {
        self.filling.as_ref().and_then(Filling::missing)
    }

    /// What records which of them are touched.
    pub(crate) fn recorder(&mut self) -> Option<&mut Recorder> {
        match &mut self.filling {
            Some(Filling::Recorded(recorder)) => Some(recorder),
            _ => None,
        }
    }

    /// In which slots KVM has that memory.
    #[must_use]
    pub(crate) fn memory_slots(&self) -> Vec<Slot> {
        self.memory_slots.clone()
    }

    /// All devices, in the order of their slots, to be saved.
    pub(crate) fn to_be_saved(&self) -> Vec<ToBeSaved> {
        let devices = self.attached.iter();
        let saved = devices.map(|device| ToBeSaved {
            name: device.name.to_string(),
            transport: device.transport.clone(),
            lane: device.lane.as_ref().map(Lane::way),
        });
        saved.collect()
    }

    /// Gives threads to shares, which keep more rights than others and so come first.
    ///
    /// # Errors
    /// If the host has none.
    pub(crate) fn start_shares(
        &mut self,
        ending: &Arc<Ending>,
        confinement: &Confinement,
    ) -> Result<(), StartError> {
        self.start_some(ending, confinement, true)
    }

    /// Gives threads to the other devices whose backends can be slow.
    ///
    /// # Errors
    /// If the host has none.
    pub(crate) fn start_lanes(
        &mut self,
        ending: &Arc<Ending>,
        confinement: &Confinement,
    ) -> Result<(), StartError> {
        self.start_some(ending, confinement, false)
    }

    fn start_some(
        &mut self,
        ending: &Arc<Ending>,
        confinement: &Confinement,
        shares: bool,
    ) -> Result<(), StartError> {
        for device in &mut self.attached {
            if device.threads.count() == 0 || device.fence.is_some() != shares {
                continue;
            }
            let name = device.name.to_string();
            let held = (device.transport.clone(), self.mappings.clone());
            let confinement = confinement.clone();
            let fence = device.fence.clone();
            confinement.expect(device.threads.count());
            let enter = move || {
                let entered = match &fence {
                    Some(fence) => confinement.enter_share(fence),
                    None => confinement.enter(Kind::Lane),
                };
                confinement.arrived();
                entered
            };
            let lane = Lane::start(&name, device.threads, held, ending, enter);
            let lane = lane.map_err(StartError::host("a thread for a device"))?;
            if let Some(first) = device.first.take() {
                let transport = device.transport.clone();
                let done = lane.way().ask(PATIENCE_AT_START, move || first(&transport));
                done.ok_or(StartError::Slow(name))??;
            }
            device.lane = Some(lane);
        }
        Ok(())
    }

    /// What the machine's own event loop is to run.
    pub(crate) fn transports(&self) -> impl Iterator<Item = Arc<MmioTransport>> {
        let own = self.attached.iter().filter(|device| device.lane.is_none());
        own.map(|device| device.transport.clone())
    }

    /// Does something to a device; nothing if there is no such device. It waits for no request, and must not wait either.
    pub(crate) fn with<D: VirtioDevice, R>(
        &self,
        name: &Name,
        act: impl FnOnce(&mut D) -> R,
    ) -> Option<R> {
        let device = self.attached.iter().find(|device| device.name == *name)?;
        device.transport.with_device(act)
    }

    /// Has a thread of a device do something that may wait for the host; false if there is no such device, or it has no
    /// threads.
    pub(crate) fn send(
        &self,
        name: &Name,
        errand: impl FnOnce(&MmioTransport) + Send + 'static,
    ) -> bool {
        let device = self.attached.iter().find(|device| device.name == *name);
        let Some((device, lane)) = device.and_then(|device| Some((device, device.lane.as_ref()?)))
        else {
            return false;
        };
        let transport = device.transport.clone();
        lane.send(move || errand(&transport));
        true
    }

    /// What changes the rate limits of a device.
    #[must_use]
    pub(crate) fn rates(&self, name: &Name) -> &[RateControl] {
        let device = self.attached.iter().find(|device| device.name == *name);
        device.map_or(&[], |device| &device.rates)
    }

    /// Stops all devices, without waiting for any. No vCPU may be in the guest. Requests that the host works on are given back
    /// when the machine goes on.
    pub(crate) fn pause(&self) {
        for device in &self.attached {
            device.transport.pause();
        }
    }

    /// Starts all devices where they were stopped. The vCPUs follow.
    pub(crate) fn resume(&self) {
        for device in &self.attached {
            device.transport.resume();
        }
    }

    /// Puts the registers on the bus. A vCPU that has to wait for a device waits aside of `gate`.
    ///
    /// # Errors
    /// If something else is there.
    pub(crate) fn attach(&self, mmio: &mut Bus, gate: &Arc<Gate>) -> Result<(), StartError> {
        for device in &self.attached {
            let base = device.slot.base.raw_value();
            let registers = Guarded {
                transport: device.transport.clone(),
                gate: gate.clone(),
            };
            mmio.attach(base..base + MMIO_SIZE, Arc::new(registers))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached")
            .field("name", &self.name)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

impl Name {
    /// The section of the metrics, and which of its devices.
    fn section(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Drive(id) => ("block", Some(id.as_str())),
            Self::Pmem(id) => ("pmem", Some(id.as_str())),
            Self::Network(id) => ("net", Some(id.as_str())),
            Self::Share(tag) => ("fs", Some(tag.as_str())),
            Self::Vsock => ("vsock", None),
            Self::Console => ("console", None),
            Self::Entropy => ("entropy", None),
            Self::Balloon => ("balloon", None),
            Self::Hotplug => ("memory_hotplug", None),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drive(id) => write!(f, "drive {id}"),
            Self::Pmem(id) => write!(f, "pmem {id}"),
            Self::Network(id) => write!(f, "net {id}"),
            Self::Share(tag) => write!(f, "share {tag}"),
            Self::Vsock => f.write_str("vsock"),
            Self::Console => f.write_str("console"),
            Self::Entropy => f.write_str("entropy"),
            Self::Balloon => f.write_str("balloon"),
            Self::Hotplug => f.write_str("memory-hotplug"),
        }
    }
}

/// Lets KVM turn a notification of queue i into its event.
fn listen(vm: &VmFd, slot: VirtioSlot, transport: &MmioTransport) -> Result<(), KvmError> {
    let address = IoEventAddress::Mmio(slot.base.raw_value() + QUEUE_NOTIFY);
    for (queue, kick) in (0_u32..).zip(transport.kicks()) {
        vm.register_ioevent(kick, &address, queue)
            .map_err(KvmError::step("listen for notifications"))?;
    }
    Ok(())
}

/// The interrupt line of a device.
#[derive(Debug)]
struct Line {
    line: IrqLine,
    counters: Arc<InterruptCounters>,
}

impl Interrupt for Line {
    fn trigger(&self, cause: Cause) -> io::Result<()> {
        match cause {
            Cause::Queue(_) => self.counters.triggers.count(),
            Cause::Config => self.counters.config_updates.count(),
        }
        self.line.pulse();
        Ok(())
    }
}

/// A device's registers, and where a vCPU waits for them.
struct Guarded {
    transport: Arc<MmioTransport>,
    gate: Arc<Gate>,
}

impl Registers for Guarded {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.transport.read(offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        match self.transport.write(offset, data) {
            Written::Done => {}
            Written::Resets => self.gate.aside(|| self.transport.await_reset()),
        }
    }
}
