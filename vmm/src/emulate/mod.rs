//! Instructions that KVM's emulator does not know, done here in its place.
//!
//! Where a host's KVM interprets the guest's kernel it gives up at XSAVE and XRSTOR, while programs run on the processor and
//! use all of its vector registers. A kernel without XSAVE would lose those at every switch between programs, so its
//! XSAVE and XRSTOR are carried out here, with the registers that KVM holds. So is LSL, without which no NMI can be handled. Called by a vCPU's own thread after an exit
//! with KVM_EXIT_INTERNAL_ERROR, which hosts with VT-x and AMD-V do not make for these instructions.
//!
//! Source: Intel SDM volume 1, chapter 13, and volume 2, XSAVE, XRSTOR and LSL.

mod decode;
mod paging;
mod segment;
mod xsave;

#[cfg(test)]
mod tests;

use hull_devices::GuestMemory;
use kvm_bindings::{kvm_regs, kvm_sregs, kvm_vcpu_events};
use kvm_ioctls::VcpuFd;

use decode::{Operation, decode, set_register};
use paging::{Access, Pages};
use xsave::Area;

/// The longest instruction of x86, in bytes.
const LONGEST: usize = 15;

const INVALID_OPCODE: u8 = 6;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;

/// RFLAGS: the result is zero, or it worked.
const ZERO: u64 = 1 << 6;

/// What the guest gets instead of the instruction's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// #GP(0).
    GeneralProtection,
    /// #PF, with the address and the error code.
    Page { address: u64, code: u32 },
}

/// Carries out the instruction that KVM gave up at. False if that is none of those known here; nothing has changed then.
///
/// # Errors
/// If KVM refuses to give or take registers.
pub(crate) fn step(vcpu: &mut VcpuFd, memory: &GuestMemory) -> Result<bool, kvm_ioctls::Error> {
    let sregs = vcpu.get_sregs()?;
    // Kernels in 64-bit mode only.
    if sregs.cs.l == 0 || sregs.cs.dpl != 0 {
        return Ok(false);
    }
    let mut regs = vcpu.get_regs()?;
    let pages = Pages::new(memory, &sregs);
    let mut code = [0; LONGEST];
    let there = pages.read_some(regs.rip, &mut code);
    let Some(instruction) = decode(code.get(..there).unwrap_or_default(), &regs, &sregs) else {
        return Ok(false);
    };
    let done = match instruction.operation {
        Operation::SegmentLimit { selector, target } => segment::limit(selector, &sregs, &pages)
            .map(|limit| {
                regs.rflags &= !ZERO;
                if let Some(limit) = limit {
                    regs.rflags |= ZERO;
                    set_register(&mut regs, target, limit);
                }
            }),
        Operation::Save(place) => save(vcpu, place, &regs, &pages)?,
        Operation::Restore(place) => restore(vcpu, place, &regs, &pages)?,
    };
    match done {
        Ok(()) => {
            regs.rip = regs.rip.wrapping_add(instruction.length);
            vcpu.set_regs(&regs)?;
            settle(vcpu, None)?;
        }
        Err(Fault::GeneralProtection) => settle(vcpu, Some((GENERAL_PROTECTION, 0)))?,
        Err(Fault::Page { address, code }) => {
            vcpu.set_sregs(&kvm_sregs {
                cr2: address,
                ..sregs
            })?;
            settle(vcpu, Some((PAGE_FAULT, code)))?;
        }
    }
    Ok(true)
}

/// The components that an instruction asks for, of those that are enabled.
fn wanted(regs: &kvm_regs, enabled: u64) -> u64 {
    enabled & (regs.rdx << 32 | regs.rax & 0xffff_ffff)
}

/// XSAVE. The outer error is KVM's.
fn save(
    vcpu: &VcpuFd,
    place: u64,
    regs: &kvm_regs,
    pages: &Pages<'_>,
) -> Result<Result<(), Fault>, kvm_ioctls::Error> {
    let mut state = vcpu.get_xsave()?;
    let wanted = wanted(regs, vcpu.get_xcrs()?.xcrs[0].value);
    let mut image = vec![0; xsave::length(wanted)];
    let saved = aligned(place).and_then(|()| {
        // What is not asked for stays as it is in memory.
        pages.read(place, &mut image, Access::Write)?;
        Area::new(&mut image).save(&Area::of(&mut state), wanted);
        pages.write(place, &image)
    });
    Ok(saved)
}

/// XRSTOR. The outer error is KVM's.
fn restore(
    vcpu: &mut VcpuFd,
    place: u64,
    regs: &kvm_regs,
    pages: &Pages<'_>,
) -> Result<Result<(), Fault>, kvm_ioctls::Error> {
    let mut state = vcpu.get_xsave()?;
    let enabled = vcpu.get_xcrs()?.xcrs[0].value;
    let wanted = wanted(regs, enabled);
    let mut image = vec![0; xsave::length(wanted)];
    let restored = aligned(place).and_then(|()| {
        pages.read(place, &mut image, Access::Read)?;
        Area::of(&mut state).restore(&Area::new(&mut image), wanted, enabled)
    });
    if restored.is_ok() {
        // SAFETY: without XFD-governed components, which Hull never asks KVM for, a state has 4 KiB.
        #[allow(unsafe_code)]
        unsafe {
            vcpu.set_xsave(&state)?;
        }
    }
    Ok(restored)
}

fn aligned(place: u64) -> Result<(), Fault> {
    if place.is_multiple_of(Area::ALIGN) {
        Ok(())
    } else {
        Err(Fault::GeneralProtection)
    }
}

/// Takes back the #UD that KVM queued when it gave up, and queues `fault` instead.
fn settle(vcpu: &VcpuFd, fault: Option<(u8, u32)>) -> Result<(), kvm_ioctls::Error> {
    let mut events: kvm_vcpu_events = vcpu.get_vcpu_events()?;
    let queued = events.exception.injected != 0 || events.exception.pending != 0;
    if fault.is_none() && !(queued && events.exception.nr == INVALID_OPCODE) {
        return Ok(());
    }
    events.exception.pending = 0;
    events.exception.injected = fault.is_some().into();
    if let Some((vector, code)) = fault {
        events.exception.nr = vector;
        events.exception.has_error_code = 1;
        events.exception.error_code = code;
    }
    vcpu.set_vcpu_events(&events)
}
