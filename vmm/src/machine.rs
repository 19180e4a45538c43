//! A machine: made from its configuration, and started.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hull_arch::{Topology, boot, layout};
use hull_devices::GuestMemory;
use hull_devices::serial::SerialState;
use hull_vm_api::config::{self, BootSource, Reboot};
use hull_vm_api::{Draft, Metadata, VmConfig};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::affinity::{self, CpuSet};
use crate::api::Later;
use crate::bus::Bus;
use crate::command_line::command_line;
use crate::cpu::{self, Wanted};
use crate::ending::Ending;
use crate::error::StartError;
use crate::files::Files;
use crate::gate::Gate;
use crate::images::Images;
use crate::kvm;
use crate::legacy::{ButtonLine, I8042, IrqLine, PanicPort, Renewal, SleepRegister};
use crate::memory;
use crate::metrics::exits::Exits;
use crate::power_button::PowerButton;
use crate::probe;
use crate::ready::Ready;
use crate::running::Running;
use crate::sandbox::Confinement;
use crate::sandbox::seccomp::Kind;
use crate::serial::Serial;
use crate::snapshot::errands::Errands;
use crate::snapshot::format::v1::{Device, Host, MemoryLabel};
use crate::snapshot::load::{LoadError, Restored};
use crate::snapshot::memory::Origin;
use crate::snapshot::{self, Snapshot};
use crate::timeline::{Stage, Timeline};
use crate::vcpu::{Shared, Vcpu};
use crate::vcpus::Vcpus;
use crate::virtio::{Ram, RamOrigin, Virtio};

/// A machine that is ready to run.
pub(crate) struct Machine {
    vcpus: Vec<Vcpu>,
    shared: Shared,
    virtio: Virtio,
    serial: Option<Serial>,
    keyboard: Arc<Mutex<I8042>>,
    button: PowerButton,
    kvm: Kvm,
    vm: Arc<VmFd>,
    memory: GuestMemory,
    /// The snapshot that its memory comes from.
    origin: Option<MemoryLabel>,
    /// What it boots with when its guest reboots. Of a snapshot's only if that is to happen.
    boot: Option<Boot>,
    /// It stands still until it is resumed.
    paused: bool,
}

/// How long threads may take to be where they are to be.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a machine boots with, and no client need have said; see [`crate::complete`].
#[derive(Debug, Clone)]
pub(crate) struct Boot {
    pub(crate) source: BootSource,
    pub(crate) serial: Option<config::Serial>,
}

impl Boot {
    /// What a restored machine boots with when its guest reboots, which is there: it is found out now, and not then.
    fn of(draft: &Draft, files: &Files) -> Result<Option<Self>, StartError> {
        let Some(source) = &draft.boot_source else {
            return Ok(None);
        };
        Images::open(source, files)?;
        Ok(Some(Self {
            source: source.clone(),
            serial: draft.serial.clone(),
        }))
    }
}

/// A machine without vCPUs, and without what a guest reaches by ports.
struct Frame {
    ready: Ready,
    virtio: Virtio,
    memory: GuestMemory,
}

/// The way to the host's files, and what notes when they are there.
type Outside<'a> = (&'a Files, &'a Arc<Timeline>);

impl Machine {
    /// Makes a machine from its configuration, of what is ready if it suits.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn new(
        config: &VmConfig,
        metadata: &Metadata,
        (files, timeline): Outside<'_>,
        ready: Option<Ready>,
    ) -> Result<Self, StartError> {
        let machine = &config.machine_config;
        let affinity = affinity::sets(&machine.cpu_affinity)?;
        let images = Images::open(&config.boot_source, files)?;
        let cpus = Wanted::read(config, files)?;
        let wanted = (cpus.capabilities(), machine.vcpu_count);
        let mut ready = Ready::take(ready, wanted, files, timeline)?;
        ready.without_memory()?;
        let ram = Ram {
            memory: memory::map(machine)?,
            origin: RamOrigin::New,
        };
        memory::register(&ready.vm, &ram.memory, machine.track_dirty_pages)?;
        let draft = Draft::from(config.clone());
        let host = (files, timeline);
        let mut frame = Frame::new(&draft, metadata, host, ready, &ram, None)?;
        let slots = frame.virtio.slots();
        let topology = Topology::new(machine.vcpu_count, machine.smt);
        let pc = boot::Machine {
            memory_size: machine.mem_size_mib << 20,
            topology,
            initrd: None,
            devices: &slots,
            serial: config.serial.is_some(),
            seed: random()?,
            generation: random()?,
        };
        let entry = images.load(&ram.memory, &command_line(config, &slots)?, pc)?;
        timeline.mark(Stage::KernelLoaded);
        let vcpus = cpu::create(&mut frame.ready, topology, &entry, &cpus)?;
        let machine = frame.complete(&draft, host, (vcpus, affinity), None)?;
        let boot = Boot {
            source: config.boot_source.clone(),
            serial: config.serial.clone(),
        };
        Ok(Self {
            boot: Some(boot),
            ..machine
        })
    }

    /// Makes a machine as it was saved, of what is ready if it suits. Its vCPUs wait, and its devices are paused.
    ///
    /// KVM gets its state from the inside out: memory, into which all else points; the devices, which KVM then knows; vCPUs; what they
    /// share, as [`crate::snapshot::format::v1::BoardState::restore`] explains; and last the lines of devices that may have something to tell.
    ///
    /// # Errors
    /// Why it cannot go on here.
    pub(crate) fn restore(
        restored: &Restored,
        metadata: &Metadata,
        host: Outside<'_>,
        ready: Option<Ready>,
    ) -> Result<Self, StartError> {
        let Restored {
            draft,
            snapshot,
            memory: origin,
            with_time,
        } = restored;
        let machine = &draft.machine_config;
        let affinity = affinity::sets(&machine.cpu_affinity)?;
        let boot = Boot::of(draft, host.0)?;
        let mut ready = Ready::take(ready, (&[], machine.vcpu_count), host.0, host.1)?;
        let has_suiting = ready
            .memory
            .as_ref()
            .is_some_and(|place| place.suits(machine));
        let place = match origin {
            Origin::File(..) if has_suiting => ready.memory.take(),
            _ => None,
        };
        let has_place = place.is_some();
        ready.without_memory()?;
        let ram = match origin {
            Origin::File(backing, set) => {
                let (memory, end) = snapshot::memory::map(machine, backing, place)?;
                Ram {
                    memory,
                    origin: RamOrigin::File(backing.clone(), end, set.clone()),
                }
            }
            Origin::Recorded(recording) => Ram {
                memory: memory::map(machine)?,
                origin: RamOrigin::Recorded(recording),
            },
            Origin::Process(handler) => Ram {
                memory: memory::map(machine)?,
                origin: RamOrigin::Process(handler),
            },
        };
        if !has_place {
            memory::register(&ready.vm, &ram.memory, machine.track_dirty_pages)?;
        }
        let devices = Some(&snapshot.devices[..]);
        let mut frame = Frame::new(draft, metadata, host, ready, &ram, devices)?;
        check_host(&frame.ready, snapshot)?;
        let topology = Topology::new(machine.vcpu_count, machine.smt);
        let mut vcpus = Vec::new();
        for (index, state) in (0..).zip(&snapshot.vcpus) {
            let vcpu = frame.ready.vcpu(topology, index)?;
            state.restore(&vcpu, index).map_err(LoadError::from)?;
            vcpus.push(vcpu);
        }
        let has_pit = kvm::has_pit(&frame.ready.kvm);
        let board = snapshot.board.restore(&frame.ready.vm, has_pit, *with_time);
        board.map_err(LoadError::from)?;
        let machine = frame.complete(draft, host, (vcpus, affinity), Some(snapshot))?;
        Ok(Self { boot, ..machine })
    }

    /// Starts the vCPUs, and gives up what it takes to start them, unless they may have to be started again. What the machine is and what its guest can ask for goes with it.
    ///
    /// # Errors
    /// If the host refuses threads.
    pub(crate) fn start(
        mut self,
        config: Draft,
        metadata: Metadata,
        confinement: &Confinement,
    ) -> Result<Running, StartError> {
        let ending = &self.shared.ending;
        self.virtio.start_shares(ending, confinement)?;
        // What is started again needs again what it takes to start.
        let again = config.machine_config.reboot == Reboot::Restart;
        if !again {
            confinement.close()?;
        }
        self.virtio.start_lanes(ending, confinement)?;
        let errands = Errands::start(ending, confinement);
        let errands = errands.map_err(StartError::host("a thread for snapshots"))?;
        // No guest runs before every thread is where it is to be.
        let gate = self.shared.gate.clone();
        gate.shut();
        let vcpus = Vcpus::start(self.vcpus, gate.clone(), confinement)?;
        if !again {
            confinement.enter(Kind::Events)?;
        }
        if !confinement.await_all(PATIENCE) {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Err(StartError::host("threads that are there in time")(late));
        }
        let stage = match self.paused {
            true => hull_vm_api::Stage::Paused,
            false => {
                gate.open();
                hull_vm_api::Stage::Running
            }
        };
        Ok(Running {
            stage,
            config,
            metadata,
            vcpus,
            virtio: self.virtio,
            serial: self.serial,
            button: self.button,
            latencies: Arc::default(),
            later: Later::new().map_err(StartError::host("an eventfd"))?,
            shared: self.shared,
            keyboard: self.keyboard,
            errands,
            last_snapshot: self.origin,
            boot: self.boot,
            kvm: self.kvm,
            vm: self.vm,
            _memory: self.memory,
        })
    }
}

impl Frame {
    fn new(
        draft: &Draft,
        metadata: &Metadata,
        host: Outside<'_>,
        ready: Ready,
        ram: &Ram<'_>,
        saved: Option<&[Device]>,
    ) -> Result<Self, StartError> {
        let (virtio, memory) = Virtio::new(draft, metadata, host, (&ready.vm, ram), saved)?;
        Ok(Self {
            ready,
            virtio,
            memory,
        })
    }

    /// Adds vCPUs, and what is at ports, as it was saved if it was.
    fn complete(
        self,
        draft: &Draft,
        (files, timeline): Outside<'_>,
        (vcpus, affinity): (Vec<VcpuFd>, Vec<CpuSet>),
        saved: Option<&Snapshot>,
    ) -> Result<Machine, StartError> {
        let Self {
            ready: Ready { kvm, vm, .. },
            virtio,
            memory,
        } = self;
        let ending = Arc::new(Ending::new().map_err(StartError::host("an eventfd"))?);
        let state = saved.and_then(|saved| saved.serial.as_ref());
        let serial = serial(draft, files, &vm, state)?;
        let (ports, keyboard) = ports(serial.as_ref(), &vm, &ending)?;
        if let Some(saved) = saved {
            let mut keyboard = keyboard.lock().unwrap_or_else(PoisonError::into_inner);
            keyboard.restore(&saved.keyboard);
        }
        let line = ButtonLine::connect(vm.clone());
        let line = line.map_err(StartError::host("the power button's interrupt line"))?;
        let mut slots = virtio.slots().into_iter();
        let has_line = slots.all(|slot| slot.gsi != layout::GENERATION_GSI);
        let mut renewal = match saved {
            Some(_) => {
                let renewal = Renewal::new(&vm, random()?, has_line);
                Some(renewal.map_err(StartError::host("the line of a new generation"))?)
            }
            None => None,
        };
        let button = PowerButton::new(line, keyboard.clone(), virtio.dialer());
        let button = button.map_err(StartError::host("an eventfd"))?;
        let mut mmio = Bus::default();
        let gate = Arc::new(Gate::default());
        virtio.attach(&mut mmio, &gate)?;
        let shared = Shared {
            ports: Arc::new(ports),
            mmio: Arc::new(mmio),
            counters: Arc::new(Exits::default()),
            ending,
            timeline: timeline.clone(),
            gate,
            mappings: virtio.mappings(),
        };
        Ok(Machine {
            vcpus: (0..)
                .zip(vcpus)
                .map(|(index, fd)| {
                    let cpus = affinity.get(usize::from(index)).cloned();
                    let vcpu = Vcpu::new(index, fd, shared.clone(), memory.clone()).on(cpus);
                    // The first has it.
                    vcpu.renewing(renewal.take())
                })
                .collect(),
            button,
            shared,
            virtio,
            serial,
            keyboard,
            kvm,
            vm,
            memory,
            origin: saved.map(|saved| saved.memory.clone()),
            boot: None,
            paused: saved.is_some(),
        })
    }
}

/// Whether the guest finds here what it has seen of its processor: this KVM's vCPUs have what it supports and, where what is hidden from
/// them is not, more than that.
fn check_host(ready: &Ready, snapshot: &Snapshot) -> Result<(), StartError> {
    let masks_hold = || probe::masks_hold(&ready.kvm, &ready.supported);
    let guest = snapshot.vcpus.first().map(|vcpu| &vcpu.cpuid[..]);
    let guest = guest.unwrap_or_default();
    let fits = snapshot
        .host
        .check(&Host::here(), guest, &ready.had, masks_hold);
    fits.map_err(LoadError::from)?;
    Ok(())
}

/// The devices at I/O ports.
fn ports(
    serial: Option<&Serial>,
    vm: &VmFd,
    ending: &Arc<Ending>,
) -> Result<(Bus, Arc<Mutex<I8042>>), StartError> {
    let line = |gsi| IrqLine::connect(vm, gsi).map_err(StartError::host("an interrupt line"));
    let mut ports = Bus::default();
    let keyboard = I8042::new(ending.clone(), line(I8042::GSI)?);
    let keyboard = Arc::new(Mutex::new(keyboard));
    ports.attach(I8042::PORTS, keyboard.clone())?;
    ports.attach(PanicPort::PORTS, Arc::new(PanicPort::new(ending.clone())))?;
    let sleep = Arc::new(SleepRegister::new(ending.clone()));
    ports.attach(SleepRegister::PORTS, sleep)?;
    if let Some(serial) = serial {
        let range = layout::COM1.start.into()..layout::COM1.end.into();
        ports.attach(range, serial.port.clone())?;
    }
    Ok((ports, keyboard))
}

/// The serial port, if there is to be one.
fn serial(
    draft: &Draft,
    files: &Files,
    vm: &VmFd,
    state: Option<&SerialState>,
) -> Result<Option<Serial>, StartError> {
    let Some(serial) = &draft.serial else {
        return Ok(None);
    };
    let line =
        IrqLine::connect(vm, layout::COM1_GSI).map_err(StartError::host("an interrupt line"))?;
    Serial::new(serial, files, line, state).map(Some)
}

/// Random bytes of the host for the guest.
fn random<const COUNT: usize>() -> Result<[u8; COUNT], StartError> {
    let mut bytes = [0; COUNT];
    // The kernel gives so few bytes in one piece.
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(StartError::host("random bytes for the guest"))?;
    Ok(bytes)
}
