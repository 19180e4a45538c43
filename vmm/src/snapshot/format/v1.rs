//! Version 1 of the body. What is written here stays as it is: a change, also one of a device's state, is another version, and the golden
//! file of the tests notices it.

use std::fmt;

use hull_devices::TransportState;
use hull_devices::serial::SerialState;
use kvm_bindings::{
    kvm_clock_data, kvm_cpuid_entry2, kvm_debugregs, kvm_irqchip, kvm_lapic_state, kvm_mp_state,
    kvm_pit_state2, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use serde::{Deserialize, Serialize};

/// A microVM that stands still.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Where it was taken.
    pub host: Host,
    /// What the machine is, as the API says it (`Draft` in JSON).
    pub config: String,
    /// Which memory belongs to it.
    pub memory: MemoryLabel,
    /// All vCPUs, in order.
    pub vcpus: Vec<VcpuState>,
    /// Interrupt controllers, timer and clock.
    pub board: BoardState,
    /// The keyboard controller.
    pub keyboard: KeyboardState,
    /// The serial port, if there is one.
    pub serial: Option<SerialState>,
    /// All virtio devices, in the order of their slots.
    pub devices: Vec<Device>,
}

/// Where a snapshot was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The release of its kernel.
    pub kernel: String,
    /// What its processor says of itself.
    pub cpu: Vec<CpuidLeaf>,
}

/// What CPUID answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuidLeaf {
    /// EAX of the question.
    pub leaf: u32,
    /// Its ECX.
    pub subleaf: u32,
    /// EAX, EBX, ECX and EDX of the answer.
    pub registers: [u32; 4],
}

/// Names the memory that a state belongs to: see [`crate::snapshot::memory::label`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryLabel {
    /// Bytes of the guest's memory.
    pub size: u64,
    /// The snapshots that its pages come from: a full one, then the diffs on top of it.
    pub chain: Vec<[u8; 16]>,
}

/// A vCPU.
#[derive(Debug, Serialize, Deserialize)]
pub struct VcpuState {
    /// What it answers to CPUID.
    pub cpuid: Vec<kvm_cpuid_entry2>,
    /// How fast its TSC counts.
    pub tsc_khz: u32,
    /// Whether it runs, halts, or waits to be woken.
    pub mp_state: kvm_mp_state,
    /// General registers.
    pub regs: kvm_regs,
    /// Segments and control registers.
    pub sregs: kvm_sregs,
    /// Floating-point and vector registers.
    pub xsave: Box<kvm_xsave>,
    /// Which of them are switched on.
    pub xcrs: kvm_xcrs,
    /// Debug registers.
    pub debug_regs: kvm_debugregs,
    /// The local APIC.
    pub lapic: Box<kvm_lapic_state>,
    /// Model-specific registers.
    pub msrs: Vec<(u32, u64)>,
    /// Exceptions and interrupts that are on their way.
    pub events: kvm_vcpu_events,
}

/// What the vCPUs share.
#[derive(Clone, Serialize, Deserialize)]
pub struct BoardState {
    /// The two PICs and the I/O APIC.
    pub irqchips: Vec<kvm_irqchip>,
    /// The timer, if there is one.
    pub pit: Option<kvm_pit_state2>,
    /// kvmclock.
    pub clock: kvm_clock_data,
}

/// The keyboard controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyboardState {
    /// What the guest reads next.
    pub output: Vec<u8>,
    /// The control byte.
    pub control: u8,
    /// The command whose parameter comes next.
    pub pending: Option<u8>,
    /// The last write was a command.
    pub was_command: bool,
}

/// A virtio device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name, as the log has it.
    pub name: String,
    /// Registers, queues, and what is behind them.
    pub transport: TransportState,
}

impl fmt::Debug for BoardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoardState")
            .field("pit", &self.pit)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
