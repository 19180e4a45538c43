//! What an x86-64 PC looks like to Linux: memory layout, boot protocols, tables, CPUID, MSRs, registers.
//!
//! Everything here is a pure function of its arguments, or of guest memory that it writes: no KVM call is made,
//! no file is opened. The VMM calls it in the order `layout`, [`boot::load_kernel`], [`boot::configure`], and for
//! each vCPU [`cpuid`], [`msr`], [`regs`].

pub mod acpi;
pub mod boot;
pub mod cpuid;
pub mod layout;
pub mod mptable;
pub mod msr;
pub mod regs;
pub mod topology;

pub use topology::Topology;
