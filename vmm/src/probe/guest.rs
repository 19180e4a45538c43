//! A micro-guest: 64 KiB of memory, one vCPU in long mode, a few instructions.
//!
//! A run ends with an OUT to [`PORT`]; what it writes is the answer. There is no interrupt table unless a program brings a
//! handler, so an exception is a triple fault. After a run that ended in any other way the vCPU is replaced: what is in it is
//! unknown then.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use kvm_bindings::{CpuId, Msrs, kvm_msr_entry, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::state::{self, CODE, GDT, HANDLER, INTERRUPTS, Level, MEMORY, ROOT, SCRATCH};
use super::{LIMIT, ProbeError};
use crate::kick;
use crate::kvm::KvmError;

/// The port by which programs answer.
pub(super) const PORT: u16 = 0xf4;
/// `out 0xf4, eax`.
pub(super) const ANSWER: [u8; 2] = [0xe7, 0xf4];
/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It wrote this to the port.
    Answer(u32),
    /// Anything else: why, for a person.
    Failed(String),
}

/// The micro-guest.
pub(super) struct MicroGuest {
    // Before the memory that they use, so that they go first.
    vcpu: VcpuFd,
    vm: VmFd,
    memory: GuestMemoryMmap,
    cpuid: CpuId,
    fresh: kvm_sregs,
    next_vcpu: u64,
    beat: Sender<()>,
}

impl MicroGuest {
    pub(super) fn new(kvm: &Kvm, cpuid: &CpuId, beat: Sender<()>) -> Result<Self, ProbeError> {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)])
            .map_err(|_| ProbeError::Host("memory"))?;
        let vm = create_vm(kvm)?;
        register(&vm, &memory)?;
        let (vcpu, fresh) = create_vcpu(&vm, cpuid, 0)?;
        Ok(Self {
            vcpu,
            vm,
            memory,
            cpuid: cpuid.clone(),
            fresh,
            next_vcpu: 1,
            beat,
        })
    }

    /// Runs a program that ends with [`ANSWER`].
    pub(super) fn run(&mut self, level: Level, program: &[u8]) -> Result<Outcome, ProbeError> {
        self.load(level, program, &[])?;
        self.enter()
    }

    /// Runs a program and gives the time between entering and its answer.
    pub(super) fn time(
        &mut self,
        level: Level,
        program: &[u8],
    ) -> Result<Option<Duration>, ProbeError> {
        self.load(level, program, &[])?;
        let start = Instant::now();
        let outcome = self.enter()?;
        let time = start.elapsed();
        Ok(matches!(outcome, Outcome::Answer(_)).then_some(time))
    }

    /// As [`Self::run`], with code at [`HANDLER`] to which breakpoints go, and `syscall` if the registers say so.
    pub(super) fn run_with_handler(
        &mut self,
        level: Level,
        program: &[u8],
        handler: &[u8],
        msrs: &[(u32, u64)],
    ) -> Result<Outcome, ProbeError> {
        self.load(level, program, handler)?;
        self.set_msrs(msrs)?;
        self.enter()
    }

    /// Times a program that answers again and again, from one answer to the next; none if it does not answer.
    pub(super) fn time_answers(
        &mut self,
        level: Level,
        program: &[u8],
        count: usize,
    ) -> Result<Vec<Duration>, ProbeError> {
        self.load(level, program, &[])?;
        // The first one pays for page tables that KVM makes as they are used.
        let mut outcome = self.enter()?;
        let mut times = Vec::new();
        while matches!(outcome, Outcome::Answer(_)) && times.len() < count {
            let start = Instant::now();
            outcome = self.enter()?;
            times.push(start.elapsed());
        }
        Ok(times)
    }

    /// Gives the vCPU other CPUID leaves for the next runs. Only a vCPU that has not run takes any, so it is replaced.
    pub(super) fn set_cpuid(&mut self, cpuid: CpuId) -> Result<(), ProbeError> {
        self.cpuid = cpuid;
        self.replace_vcpu()
    }

    fn enter(&mut self) -> Result<Outcome, ProbeError> {
        let outcome = run_vcpu(&mut self.vcpu);
        // Nobody listens only when the probe is given up.
        let _ = self.beat.send(());
        if let Outcome::Failed(_) = outcome {
            self.replace_vcpu()?;
        }
        Ok(outcome)
    }

    fn replace_vcpu(&mut self) -> Result<(), ProbeError> {
        kick::disarm();
        (self.vcpu, self.fresh) = create_vcpu(&self.vm, &self.cpuid, self.next_vcpu)?;
        self.next_vcpu += 1;
        Ok(())
    }

    fn load(&mut self, level: Level, program: &[u8], handler: &[u8]) -> Result<(), ProbeError> {
        let end = usize::try_from(HANDLER - CODE).unwrap_or(0);
        debug_assert!(program.len() < end && handler.len() < end);
        self.write(&[0; 0x1000], SCRATCH)?;
        self.write(&state::tables(level), ROOT)?;
        self.write(&state::interrupt_table(!handler.is_empty()), INTERRUPTS)?;
        self.write(&state::descriptors(), GDT)?;
        self.write(program, CODE)?;
        self.write(handler, HANDLER)?;
        let sregs = state::system_registers(self.fresh, level, !handler.is_empty());
        self.vcpu
            .set_sregs(&sregs)
            .map_err(KvmError::step("set the system registers of a probe"))?;
        self.vcpu
            .set_regs(&state::general_registers(level))
            .map_err(KvmError::step("set the registers of a probe"))?;
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<(), ProbeError> {
        self.memory
            .write_slice(bytes, GuestAddress(at))
            .map_err(|_| ProbeError::Host("room"))
    }

    fn set_msrs(&self, msrs: &[(u32, u64)]) -> Result<(), ProbeError> {
        let entry = |(index, data): &(u32, u64)| kvm_msr_entry {
            index: *index,
            data: *data,
            ..Default::default()
        };
        let entries: Vec<kvm_msr_entry> = msrs.iter().map(entry).collect();
        let list = Msrs::from_entries(&entries).map_err(|_| ProbeError::Host("room"))?;
        self.vcpu
            .set_msrs(&list)
            .map_err(KvmError::step("set the MSRs of a probe"))?;
        Ok(())
    }
}

impl Drop for MicroGuest {
    fn drop(&mut self) {
        kick::disarm();
    }
}

/// Enters until there is an outcome. A signal that is not the watchdog's is none.
fn run_vcpu(vcpu: &mut VcpuFd) -> Outcome {
    let start = Instant::now();
    loop {
        kick::rearm(vcpu);
        match vcpu.run() {
            Ok(VcpuExit::IoOut(PORT, &[a, b, c, d])) => {
                return Outcome::Answer(u32::from_le_bytes([a, b, c, d]));
            }
            Ok(exit) => return Outcome::Failed(format!("{exit:?}")),
            Err(error) if error.errno() == libc::EINTR && start.elapsed() < LIMIT / 2 => {}
            Err(error) if error.errno() == libc::EINTR => {
                return Outcome::Failed("it does not end".to_owned());
            }
            Err(error) => return Outcome::Failed(error.to_string()),
        }
    }
}

/// KVM_CREATE_VM gives up with EINTR when a signal comes.
fn create_vm(kvm: &Kvm) -> Result<VmFd, KvmError> {
    loop {
        match kvm.create_vm() {
            Err(error) if error.errno() == libc::EINTR => {}
            result => return result.map_err(KvmError::step("create a virtual machine")),
        }
    }
}

fn create_vcpu(vm: &VmFd, cpuid: &CpuId, id: u64) -> Result<(VcpuFd, kvm_sregs), KvmError> {
    let mut vcpu = vm
        .create_vcpu(id)
        .map_err(KvmError::step("create a vCPU"))?;
    vcpu.set_cpuid2(cpuid)
        .map_err(KvmError::step("take back the CPUID that it supports"))?;
    let fresh = vcpu
        .get_sregs()
        .map_err(KvmError::step("tell the registers of a vCPU"))?;
    kick::arm(&mut vcpu);
    Ok((vcpu, fresh))
}

#[allow(unsafe_code)]
fn register(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<(), KvmError> {
    for (slot, region) in (0..).zip(memory.iter()) {
        use vm_memory::GuestMemoryRegion;
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
        };
        // SAFETY: the range is a mapping of the size given, and the guest keeps it for longer than the machine.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(KvmError::step("take the memory of a probe"))?;
    }
    Ok(())
}
