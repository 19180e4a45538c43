//! A machine: made from its configuration, run to its end, taken apart.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use event_manager::{EventManager, MutEventSubscriber, SubscriberOps};
use hull_arch::{Topology, boot};
use hull_devices::serial::SerialPort;
use hull_vm_api::VmConfig;
use kvm_ioctls::VmFd;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::bus::Bus;
use crate::command_line::command_line;
use crate::control::Control;
use crate::counters::Counters;
use crate::ending::{End, Ending};
use crate::error::StartError;
use crate::files::{Access, Files, duplicate};
use crate::images::Images;
use crate::legacy::{COM1, COM1_GSI, I8042, IrqLine, PanicPort, SleepRegister};
use crate::output::Output;
use crate::power_button::PowerButton;
use crate::signals::Signals;
use crate::timeline::{Stage, Timeline};
use crate::vcpu::{Shared, Vcpu};
use crate::virtio::Virtio;
use crate::{cpu, kick, kvm, memory};

/// How long vCPUs may take to come out of the guest in the end. One that writes to a full pipe does not; the
/// process then ends without it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Events that the loop takes in one turn.
const EVENTS: usize = 32;

/// What a machine needs besides its configuration.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Descriptors that were handed over.
    pub files: Files,
    /// Signals of this process.
    pub signals: Signals,
    /// The pipe whose end is the end of the machine.
    pub lifeline: Option<File>,
    /// Where stages of the boot are noted.
    pub timeline: Arc<Timeline>,
}

/// A machine that is ready to run.
pub(crate) struct Machine {
    vcpus: Vec<Vcpu>,
    shared: Shared,
    events: EventManager<Box<dyn MutEventSubscriber>>,
    /// Held for as long as the machine runs: the devices' files, sockets and eventfds.
    _virtio: Virtio,
    _vm: VmFd,
}

impl Machine {
    /// Makes a machine from its configuration.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn new(config: &VmConfig, around: Surroundings) -> Result<Self, StartError> {
        let machine = &config.machine_config;
        let images = Images::open(&config.boot_source, &around.files)?;
        let kvm = kvm::open()?;
        let vm = kvm::create_vm(&kvm, machine.vcpu_count.into())?;
        around.timeline.mark(Stage::KvmReady);

        let memory = memory::map(machine)?;
        memory::register(&vm, &memory, machine.track_dirty_pages)?;
        let virtio = Virtio::new(config, &around.files, &vm, &memory, &around.timeline)?;
        let slots = virtio.slots();
        let topology = Topology::new(machine.vcpu_count, machine.smt);
        let pc = boot::Machine {
            memory_size: machine.mem_size_mib << 20,
            topology,
            initrd: None,
            devices: &slots,
            seed: seed()?,
        };
        let entry = images.load(&memory, &command_line(config, &slots)?, pc)?;
        around.timeline.mark(Stage::KernelLoaded);

        let ending = Arc::new(Ending::new().map_err(StartError::host("an eventfd"))?);
        let (ports, keyboard) = ports(config, &around.files, &vm, &ending)?;
        let mut mmio = Bus::default();
        virtio.attach(&mut mmio)?;
        let shared = Shared {
            ports: Arc::new(ports),
            mmio: Arc::new(mmio),
            counters: Arc::new(Counters::default()),
            ending: ending.clone(),
            timeline: around.timeline,
            stop: Arc::new(AtomicBool::new(false)),
        };
        let control = Control::new(
            ending,
            around.signals,
            around.lifeline,
            PowerButton::new(keyboard, virtio.dialer()),
        );
        Ok(Self {
            vcpus: (0..)
                .zip(cpu::create(&kvm, &vm, topology, &entry)?)
                .map(|(index, fd)| Vcpu::new(index, fd, shared.clone(), memory.clone()))
                .collect(),
            shared,
            events: event_loop(control, &virtio)?,
            _virtio: virtio,
            _vm: vm,
        })
    }

    /// The counters of exits, which go on while the machine runs.
    #[must_use]
    pub(crate) fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    /// Runs the machine to its end, and takes it apart.
    ///
    /// # Errors
    /// If the host refuses threads or events.
    pub(crate) fn run(mut self) -> Result<End, StartError> {
        let (alive, all_out) = mpsc::channel::<()>();
        let mut threads = Vec::new();
        for vcpu in self.vcpus.drain(..) {
            let thread = vcpu.start(alive.clone());
            threads.push(thread.map_err(StartError::host("a thread for a vCPU"))?);
        }
        drop(alive);
        let end = loop {
            if let Some(end) = self.shared.ending.get() {
                break end.clone();
            }
            self.events.run()?;
        };
        self.shared.stop.store(true, Ordering::Release);
        stop(threads, &all_out);
        Ok(end)
    }
}

/// Gets all vCPUs out of the guest and waits for their threads, but not for ever.
fn stop(threads: Vec<JoinHandle<()>>, all_out: &mpsc::Receiver<()>) {
    for thread in &threads {
        // It fails only for a thread that has ended.
        let _ = kick::kick(thread);
    }
    // Nothing is ever sent: the last thread to end closes the channel.
    match all_out.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Timeout) => tracing::warn!("a vCPU does not stop; ending without it"),
        _ => threads.into_iter().for_each(|thread| {
            let _ = thread.join();
        }),
    }
}

/// The devices at I/O ports.
fn ports(
    config: &VmConfig,
    files: &Files,
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
    if let Some(serial) = &config.serial {
        let output = match &serial.serial_out_path {
            Some(path) => files.open("serial.serial_out_path", path, Access::Append)?,
            None => {
                duplicate(1).map_err(StartError::host("standard output for the serial port"))?
            }
        };
        let output = Box::new(Output::new(output, ending.clone()));
        let serial = SerialPort::new(line(COM1_GSI)?.into_inner(), output);
        ports.attach(COM1, Arc::new(Mutex::new(serial)))?;
    }
    Ok((ports, keyboard))
}

/// Random bytes of the host for the guest's own generator.
fn seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    // The kernel gives so few bytes in one piece.
    getrandom(&mut seed, GetRandomFlags::empty())
        .map_err(StartError::host("random bytes for the guest"))?;
    Ok(seed)
}

fn event_loop(
    control: Control,
    virtio: &Virtio,
) -> Result<EventManager<Box<dyn MutEventSubscriber>>, StartError> {
    let mut events = EventManager::<Box<dyn MutEventSubscriber>>::new_with_capacity(EVENTS)?;
    events.add_subscriber(Box::new(control));
    for transport in virtio.transports() {
        events.add_subscriber(Box::new(transport));
    }
    Ok(events)
}
