//! A machine: made from its configuration, and started.

use std::sync::{Arc, Mutex};

use hull_arch::{Topology, boot, layout};
use hull_devices::GuestMemory;
use hull_vm_api::config::Reboot;
use hull_vm_api::{Draft, Metadata, VmConfig};
use kvm_ioctls::VmFd;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::api::Later;
use crate::bus::Bus;
use crate::command_line::command_line;
use crate::cpu::Wanted;
use crate::ending::Ending;
use crate::error::StartError;
use crate::files::Files;
use crate::gate::Gate;
use crate::images::Images;
use crate::legacy::{ButtonLine, I8042, IrqLine, PanicPort, SleepRegister};
use crate::metrics::exits::Exits;
use crate::power_button::PowerButton;
use crate::running::Running;
use crate::sandbox::Confinement;
use crate::sandbox::seccomp::Kind;
use crate::serial::Serial;
use crate::timeline::{Stage, Timeline};
use crate::vcpu::{Shared, Vcpu};
use crate::vcpus::Vcpus;
use crate::virtio::Virtio;
use crate::{affinity, cpu, kvm, memory};

/// A machine that is ready to run.
pub(crate) struct Machine {
    vcpus: Vec<Vcpu>,
    shared: Shared,
    virtio: Virtio,
    serial: Option<Serial>,
    button: PowerButton,
    vm: Arc<VmFd>,
    memory: GuestMemory,
}

impl Machine {
    /// Makes a machine from its configuration.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn new(
        config: &VmConfig,
        metadata: &Metadata,
        files: &Files,
        timeline: &Arc<Timeline>,
    ) -> Result<Self, StartError> {
        let machine = &config.machine_config;
        let affinity = affinity::sets(&machine.cpu_affinity)?;
        let images = Images::open(&config.boot_source, files)?;
        let cpus = Wanted::read(config, files)?;
        let kvm = kvm::take(files.kvm(), cpus.capabilities())?;
        let vm = Arc::new(kvm::create_vm(&kvm, machine.vcpu_count.into())?);
        timeline.mark(Stage::KvmReady);

        let ram = memory::map(machine)?;
        memory::register(&vm, &ram, machine.track_dirty_pages)?;
        let host = (files, timeline);
        let (virtio, memory) = Virtio::new(config, metadata, host, &vm, &ram)?;
        let slots = virtio.slots();
        let topology = Topology::new(machine.vcpu_count, machine.smt);
        let pc = boot::Machine {
            memory_size: machine.mem_size_mib << 20,
            topology,
            initrd: None,
            devices: &slots,
            serial: config.serial.is_some(),
            seed: seed()?,
        };
        let entry = images.load(&ram, &command_line(config, &slots)?, pc)?;
        timeline.mark(Stage::KernelLoaded);

        let ending = Arc::new(Ending::new().map_err(StartError::host("an eventfd"))?);
        let serial = serial(config, files, &vm)?;
        let (ports, keyboard) = ports(serial.as_ref(), &vm, &ending)?;
        let line = ButtonLine::connect(vm.clone());
        let line = line.map_err(StartError::host("the power button's interrupt line"))?;
        let button = PowerButton::new(line, keyboard, virtio.dialer());
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
        Ok(Self {
            vcpus: (0..)
                .zip(cpu::create(&kvm, &vm, topology, &entry, &cpus)?)
                .map(|(index, fd)| {
                    let cpus = affinity.get(usize::from(index)).cloned();
                    Vcpu::new(index, fd, shared.clone(), memory.clone()).on(cpus)
                })
                .collect(),
            button,
            shared,
            virtio,
            serial,
            vm,
            memory,
        })
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
        // No guest runs before every thread is where it is to be.
        let gate = self.shared.gate.clone();
        gate.shut();
        let vcpus = Vcpus::start(self.vcpus, gate.clone(), confinement)?;
        if !again {
            confinement.enter(Kind::Events)?;
        }
        gate.open();
        Ok(Running {
            stage: hull_vm_api::Stage::Running,
            config,
            metadata,
            vcpus,
            virtio: self.virtio,
            serial: self.serial,
            button: self.button,
            latencies: Arc::default(),
            later: Later::new().map_err(StartError::host("an eventfd"))?,
            shared: self.shared,
            vm: self.vm,
            _memory: self.memory,
        })
    }
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
fn serial(config: &VmConfig, files: &Files, vm: &VmFd) -> Result<Option<Serial>, StartError> {
    let Some(serial) = &config.serial else {
        return Ok(None);
    };
    let line =
        IrqLine::connect(vm, layout::COM1_GSI).map_err(StartError::host("an interrupt line"))?;
    Serial::new(serial, files, line).map(Some)
}

/// Random bytes of the host for the guest's own generator.
fn seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    // The kernel gives so few bytes in one piece.
    getrandom(&mut seed, GetRandomFlags::empty())
        .map_err(StartError::host("random bytes for the guest"))?;
    Ok(seed)
}
