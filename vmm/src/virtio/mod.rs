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
mod share;
mod tap;

use std::fmt;
use std::io;
use std::sync::Arc;

use hull_arch::layout::{self, VirtioSlot};
use hull_devices::metrics::Metrics;
use hull_devices::net::mmds::Mmds;
use hull_devices::rate::RateControl;
use hull_devices::vsock::Dialer;
use hull_devices::{
    Cause, GuestMemory, Interrupt, MMIO_SIZE, MmioTransport, QUEUE_NOTIFY, VirtioDevice,
};
use hull_vm_api::config::Drive;
use hull_vm_api::{Metadata, VmConfig};
use kvm_ioctls::{IoEventAddress, VmFd};
use vm_memory::Address;

use crate::bus::{Bus, Registers};
use crate::ending::Ending;
use crate::error::StartError;
use crate::files::Files;
use crate::kvm::KvmError;
use crate::legacy::IrqLine;
use crate::metrics::{InterruptCounters, Source};
use crate::relay::Relay;
use crate::timeline::Timeline;
use devices::Made;
use lane::{Busy, Lane};

pub(crate) use devices::pages;
pub(crate) use extra::Mappings;
pub(crate) use net::filter;
pub(crate) use rate::{bandwidth, change};

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
    interrupts: Arc<InterruptCounters>,
    /// Threads that carry output.
    relays: Vec<Relay>,
}

#[derive(Debug)]
struct Attached {
    name: Name,
    slot: VirtioSlot,
    transport: Arc<MmioTransport>,
    rates: Vec<RateControl>,
    metrics: Arc<dyn Metrics>,
    /// The thread of a device that has one.
    lane: Option<Lane>,
}

/// Why something was not done to a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub(crate) struct NotNow {
    name: Name,
    why: Busy,
}

impl Virtio {
    /// Makes the devices and connects them with the machine, which has its RAM already. The second value is all of the
    /// guest's memory.
    ///
    /// # Errors
    /// What a device lacks, or what KVM refused.
    pub(crate) fn new(
        config: &VmConfig,
        metadata: &Metadata,
        host: (&Files, &Arc<Timeline>),
        vm: &VmFd,
        ram: &GuestMemory,
    ) -> Result<(Self, GuestMemory), StartError> {
        let (files, timeline) = host;
        let extra = extra::map(config, files, vm, ram)?;
        let opened = devices::open(config, metadata, &extra, files, timeline)?;
        let interrupts = Arc::<InterruptCounters>::default();
        let mut attached = Vec::new();
        for (index, (name, made)) in (0..).zip(opened.devices) {
            let slot = layout::virtio_slot(index).ok_or(StartError::TooManyDevices)?;
            let line = IrqLine::connect(vm, slot.gsi)
                .map_err(StartError::host("an interrupt line of a device"))?;
            let line = Line {
                line,
                counters: interrupts.clone(),
            };
            let memory = extra.memory.clone();
            let metrics = made.device.metrics();
            let transport = MmioTransport::new(made.device, memory, Arc::new(line))
                .map_err(StartError::host("the eventfds of a device"))?;
            listen(vm, slot, &transport)?;
            attached.push(Attached {
                name,
                slot,
                transport: Arc::new(transport),
                rates: made.rates,
                metrics,
                lane: None,
            });
        }
        let virtio = Self {
            attached,
            dialer: opened.dialer,
            mmds: opened.mmds,
            mappings: extra.mappings(),
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

    /// Gives threads to devices whose backends can be slow.
    ///
    /// # Errors
    /// If the host has none.
    pub(crate) fn start_lanes(&mut self, ending: &Arc<Ending>) -> Result<(), StartError> {
        let mappings = &self.mappings;
        for device in self
            .attached
            .iter_mut()
            .filter(|device| device.name.is_hot())
        {
            let name = device.name.to_string();
            let held = (device.transport.clone(), mappings.clone());
            let lane = Lane::start(&name, held, ending.clone());
            device.lane = Some(lane.map_err(StartError::host("a thread for a device"))?);
        }
        Ok(())
    }

    /// What the machine's own event loop is to run.
    pub(crate) fn transports(&self) -> impl Iterator<Item = Arc<MmioTransport>> {
        let own = self.attached.iter().filter(|device| device.lane.is_none());
        own.map(|device| device.transport.clone())
    }

    /// Does something to a device in its own thread, or here if it has none; nothing if there is no such device.
    ///
    /// # Errors
    /// If it is busy for too long.
    pub(crate) fn with<D: VirtioDevice, R: Send + 'static>(
        &self,
        name: &Name,
        act: impl FnOnce(&mut D) -> R + Send + 'static,
    ) -> Result<Option<R>, NotNow> {
        let Some(device) = self.attached.iter().find(|device| device.name == *name) else {
            return Ok(None);
        };
        let transport = device.transport.clone();
        device.call(move || transport.with_device(act))
    }

    /// What changes the rate limits of a device.
    #[must_use]
    pub(crate) fn rates(&self, name: &Name) -> &[RateControl] {
        let device = self.attached.iter().find(|device| device.name == *name);
        device.map_or(&[], |device| &device.rates)
    }

    /// Stops all devices. No vCPU may be in the guest.
    ///
    /// # Errors
    /// If one is busy for too long. All run on then.
    pub(crate) fn pause(&self) -> Result<(), NotNow> {
        for device in &self.attached {
            let transport = device.transport.clone();
            if let Err(error) = device.call(move || transport.pause()) {
                self.resume();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Starts all devices where they were stopped. The vCPUs follow.
    pub(crate) fn resume(&self) {
        for device in &self.attached {
            let transport = device.transport.clone();
            match &device.lane {
                Some(lane) => lane.fire(move || transport.resume()),
                None => transport.resume(),
            }
        }
    }

    /// Puts the registers on the bus.
    ///
    /// # Errors
    /// If something else is there.
    pub(crate) fn attach(&self, mmio: &mut Bus) -> Result<(), StartError> {
        for device in &self.attached {
            let base = device.slot.base.raw_value();
            mmio.attach(base..base + MMIO_SIZE, device.transport.clone())?;
        }
        Ok(())
    }
}

impl Attached {
    fn call<R: Send + 'static>(
        &self,
        act: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, NotNow> {
        match &self.lane {
            Some(lane) => lane.call(act).map_err(|why| NotNow {
                name: self.name.clone(),
                why,
            }),
            None => Ok(act()),
        }
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

    /// Whether its backend can be slow.
    fn is_hot(&self) -> bool {
        matches!(self, Self::Drive(_) | Self::Network(_) | Self::Share(_))
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

/// Opens the contents of a disk, to be put in place of others.
///
/// # Errors
/// Why they cannot be had.
pub(crate) fn open_disk(
    drive: &Drive,
    files: &Files,
) -> Result<hull_devices::block::Disk, StartError> {
    disk::open(drive, files)
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

impl Registers for MmioTransport {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.read(offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.write(offset, data);
    }
}
