//! One vCPU, one thread: run, look why it came out, hand that to the bus, run again.
//!
//! A vCPU is paused and stopped by a gate and a signal. The signal's handler sets `immediate_exit` in the page that KVM shares with the
//! vCPU, so that it cannot get lost between the look at the gate and the entry into the guest.
//!
//! What the guest gets from an access comes to its registers when KVM is entered the next time. So a vCPU does that once more before it
//! waits, without executing anything: whoever looks at its state then finds all of it in KVM.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use hull_devices::GuestMemory;
use hull_vm_api::ExitCause;
use kvm_ioctls::{VcpuExit, VcpuFd};

use crate::affinity::CpuSet;
use crate::bus::Bus;
use crate::ending::Ending;
use crate::error::with_sources;
use crate::gate::{Gate, Passage};
use crate::legacy::Renewal;
use crate::metrics::exits::{Exit, Exits};
use crate::sandbox::Confinement;
use crate::sandbox::seccomp::Kind;
use crate::timeline::{Stage, Timeline};
use crate::virtio::Mappings;
use crate::{emulate, kick};

/// Enough for the deepest device, with room to spare.
const STACK: usize = 256 * 1024;

/// What all vCPUs of a machine share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// I/O ports.
    pub ports: Arc<Bus>,
    /// Addresses without RAM.
    pub mmio: Arc<Bus>,
    /// Exits by kind.
    pub counters: Arc<Exits>,
    /// Where the end of the machine is announced.
    pub ending: Arc<Ending>,
    /// Where the first entry is noted.
    pub timeline: Arc<Timeline>,
    /// Where vCPUs wait while the machine is paused, and turn back when they are to stay out.
    pub gate: Arc<Gate>,
    /// Files that are part of the guest's memory.
    pub mappings: Mappings,
}

/// A vCPU that no thread runs yet.
#[derive(Debug)]
pub(crate) struct Vcpu {
    index: u8,
    fd: VcpuFd,
    shared: Shared,
    /// It must not go while a vCPU can still run.
    memory: GuestMemory,
    /// Where on the host it runs, if not anywhere.
    cpus: Option<CpuSet>,
    /// KVM has nothing to finish before the guest's next instruction.
    settled: bool,
    /// What its guest is to be told before it goes on.
    renewal: Option<Renewal>,
}

impl Vcpu {
    /// The vCPU of this number, with its registers set.
    #[must_use]
    pub(crate) fn new(index: u8, fd: VcpuFd, shared: Shared, memory: GuestMemory) -> Self {
        Self {
            index,
            fd,
            shared,
            memory,
            cpus: None,
            settled: true,
            renewal: None,
        }
    }

    /// The same, which tells the guest first that it went on in another machine.
    #[must_use]
    pub(crate) fn renewing(mut self, renewal: Option<Renewal>) -> Self {
        self.renewal = renewal;
        self
    }

    /// The same on these CPUs of the host.
    #[must_use]
    pub(crate) fn on(mut self, cpus: Option<CpuSet>) -> Self {
        self.cpus = cpus;
        self
    }

    /// Starts the thread that runs it, which holds on to `alive` until it ends.
    ///
    /// # Errors
    /// If the host has no thread for it.
    pub(crate) fn start(
        mut self,
        alive: Sender<()>,
        confinement: Confinement,
    ) -> io::Result<JoinHandle<()>> {
        confinement.expect(1);
        thread::Builder::new()
            .name(format!("vcpu{}", self.index))
            .stack_size(STACK)
            .spawn(move || {
                let guard = Unwinding(self.shared.ending.clone());
                if let Some(Err(error)) = self.cpus.as_ref().map(CpuSet::pin) {
                    // They were there a moment ago.
                    let detail = format!("vCPU {} cannot run on its CPUs: {error}", self.index);
                    self.shared.ending.announce_with(ExitCause::Failure, detail);
                }
                kick::arm(&mut self.fd);
                let entered = confinement.enter(Kind::Vcpu);
                confinement.arrived();
                match entered {
                    Ok(()) => self.run(),
                    Err(error) => {
                        let detail = with_sources(&error);
                        self.shared.ending.announce_with(ExitCause::Failure, detail);
                    }
                }
                kick::disarm();
                drop(guard);
                drop(self);
                drop(alive);
            })
    }

    /// Waits while the machine is paused; false if the vCPU is to stay out.
    fn may_enter(&self) -> bool {
        match self.shared.gate.pass(|errand| errand(self.index, &self.fd)) {
            Passage::Open => {}
            // The guest's watchdogs are told that time passed without it. A guest without kvmclock has no such flag.
            Passage::Reopened => {
                if self.fd.kvmclock_ctrl().is_err() {
                    self.shared.counters.kvmclock_ctrl_fails.count();
                }
            }
            Passage::Closed => return false,
        }
        self.shared.ending.get().is_none()
    }

    /// Ends the machine because a file is not there in the length in which it was mapped ([`crate::lost_memory`]).
    fn lost(&self, names: &str) {
        let detail = format!(
            "vCPU {} finds no memory; was the file of {names} made shorter while it was mapped?",
            self.index
        );
        let ending = &self.shared.ending;
        ending.announce_with(ExitCause::NoResource, detail);
    }

    /// Runs until the machine ends or somebody says stop.
    fn run(&mut self) {
        let mut first = self.index == 0;
        loop {
            let settles = !self.settled && self.shared.gate.is_shut();
            if settles {
                self.fd.set_kvm_immediate_exit(1);
            } else if !self.may_enter() {
                return;
            } else if std::mem::take(&mut first) {
                if let Some(renewal) = self.renewal.take() {
                    renewal.carry_out(&self.memory);
                }
                self.shared.timeline.mark(Stage::FirstEntry);
            }
            let Shared {
                ports,
                mmio,
                counters,
                ending,
                ..
            } = &self.shared;
            let came_out = self.fd.run();
            self.settled = came_out.is_err();
            let began = Instant::now();
            // An address that nothing answers for.
            let mut nobody = None;
            let (exit, claimed) = match came_out {
                Ok(VcpuExit::IoOut(port, data)) => (Exit::IoOut, ports.write(port.into(), data)),
                Ok(VcpuExit::IoIn(port, data)) => (Exit::IoIn, ports.read(port.into(), data)),
                Ok(VcpuExit::MmioWrite(address, data)) => {
                    nobody = Some((address, true));
                    (Exit::MmioWrite, mmio.write(address, data))
                }
                Ok(VcpuExit::MmioRead(address, data)) => {
                    nobody = Some((address, false));
                    (Exit::MmioRead, mmio.read(address, data))
                }
                Ok(VcpuExit::Shutdown) => {
                    counters.count(Exit::Other);
                    let detail = format!("vCPU {}", self.index);
                    return ending.announce_with(ExitCause::TripleFault, detail);
                }
                Ok(VcpuExit::InternalError) => {
                    if let Ok(true) = emulate::step(&mut self.fd, &self.memory) {
                        counters.took(Exit::Emulated, began.elapsed());
                        continue;
                    }
                    counters.count(Exit::Other);
                    let detail = crate::diagnosis::internal_error(self.index, &mut self.fd);
                    return ending.announce_with(ExitCause::KvmFailure, detail);
                }
                Ok(other) => {
                    counters.count(Exit::Other);
                    let detail = format!("vCPU {} came out with {other:?}", self.index);
                    return ending.announce_with(ExitCause::KvmFailure, detail);
                }
                // EAGAIN: a vCPU that waits to be woken by another was disturbed.
                Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                    kick::rearm(&mut self.fd);
                    (Exit::Interrupted, true)
                }
                Err(error) if error.errno() == libc::EFAULT && !self.shared.mappings.is_empty() => {
                    let names = self.shared.mappings.iter().map(|mapped| &mapped.name[..]);
                    let names: Vec<_> = names.collect();
                    return self.lost(&names.join(" or "));
                }
                Err(error) => {
                    let detail = format!("KVM_RUN of vCPU {} failed: {error}", self.index);
                    return ending.announce_with(ExitCause::KvmFailure, detail);
                }
            };
            counters.took(exit, began.elapsed());
            if !claimed {
                counters.count(Exit::Unclaimed);
                // Where the guest's kernel is interpreted, lost memory looks like a device that is not there.
                let mappings = &self.shared.mappings;
                let lost = nobody.and_then(|(address, is_write)| {
                    let mut lacking = mappings.iter();
                    lacking.find(|mapped| mapped.lacks(address, is_write))
                });
                if let Some(mapped) = lost {
                    return self.lost(&mapped.name);
                }
            }
        }
    }
}

/// Ends the machine if a vCPU's thread unwinds: a machine that lacks a vCPU would wait for it for ever.
struct Unwinding(Arc<Ending>);

impl Drop for Unwinding {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.announce(ExitCause::Failure);
        }
    }
}
