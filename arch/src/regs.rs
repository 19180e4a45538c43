//! The registers with which a vCPU starts.
//!
//! The 64-bit Linux boot protocol (`Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol") wants long mode
//! with identity-mapped pages, flat segments in a GDT and `boot_params` in RSI. PVH (Xen
//! `docs/misc/pvh.pandoc`) wants 32-bit protected mode without paging and the start information in EBX.

use kvm_bindings::{kvm_fpu, kvm_regs, kvm_segment, kvm_sregs};
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryError};

use crate::boot::{Entry, Protocol};
use crate::layout;

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// RFLAGS bit 1 is always set.
const RFLAGS: u64 = 2;
const PRESENT_WRITABLE: u64 = 0b11;
const HUGE_PAGE: u64 = 1 << 7;

/// Segment selectors of the boot protocol: `__BOOT_CS` and `__BOOT_DS`; a task state segment follows.
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
const TSS_SELECTOR: u16 = 0x20;

/// One descriptor of the GDT: type and flags as in Intel SDM volume 3, section 3.4.5.
#[derive(Debug, Clone, Copy)]
struct Segment {
    selector: u16,
    kind: u8,
    /// A code or data segment, not a system one.
    code_or_data: bool,
    long: bool,
    /// 32-bit default operand size, and limits counted in pages.
    wide: bool,
}

impl Segment {
    const fn code(long: bool) -> Self {
        Self {
            selector: CODE_SELECTOR,
            kind: 0xb,
            code_or_data: true,
            long,
            wide: true,
        }
    }

    const DATA: Self = Self {
        selector: DATA_SELECTOR,
        kind: 0x3,
        code_or_data: true,
        long: false,
        wide: true,
    };
    const TSS: Self = Self {
        selector: TSS_SELECTOR,
        kind: 0xb,
        code_or_data: false,
        long: false,
        wide: false,
    };

    fn limit(self) -> u32 {
        if self.wide { 0xffff_ffff } else { 0x67 }
    }

    /// What KVM takes for a segment register.
    fn register(self) -> kvm_segment {
        kvm_segment {
            base: 0,
            limit: self.limit(),
            selector: self.selector,
            type_: self.kind,
            present: 1,
            dpl: 0,
            db: u8::from(self.wide && !self.long),
            s: u8::from(self.code_or_data),
            l: u8::from(self.long),
            g: u8::from(self.wide),
            avl: 0,
            unusable: 0,
            padding: 0,
        }
    }

    /// The eight bytes in the GDT.
    fn descriptor(self) -> u64 {
        let register = self.register();
        let limit = u64::from(if self.wide {
            self.limit() >> 12
        } else {
            self.limit()
        });
        let access = u64::from(self.kind) | u64::from(register.s) << 4 | 1 << 7;
        let flags =
            u64::from(register.l) << 1 | u64::from(register.db) << 2 | u64::from(register.g) << 3;
        (limit & 0xffff) | access << 40 | (limit >> 16 & 0xf) << 48 | flags << 52
    }
}

/// General registers of the boot vCPU.
#[must_use]
pub fn boot_regs(entry: &Entry) -> kvm_regs {
    let common = kvm_regs {
        rflags: RFLAGS,
        rip: entry.address.0,
        ..kvm_regs::default()
    };
    match entry.protocol {
        Protocol::Linux64 => kvm_regs {
            rsi: layout::BOOT_PARAMS.0,
            rsp: layout::BOOT_STACK.0,
            rbp: layout::BOOT_STACK.0,
            ..common
        },
        Protocol::Pvh => kvm_regs {
            rbx: layout::PVH_START_INFO.0,
            ..common
        },
    }
}

/// Special registers of the boot vCPU, made from what `KVM_GET_SREGS` returned: the APIC base and what is not
/// of the boot protocol stay.
#[must_use]
pub fn boot_sregs(entry: &Entry, current: kvm_sregs) -> kvm_sregs {
    let long = entry.protocol == Protocol::Linux64;
    let mut sregs = current;
    let data = Segment::DATA.register();
    sregs.cs = Segment::code(long).register();
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = Segment::TSS.register();
    sregs.gdt.base = layout::GDT.0;
    sregs.gdt.limit = 5 * 8 - 1;
    sregs.idt.base = layout::IDT.0;
    sregs.idt.limit = 7;
    if long {
        sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
        sregs.cr3 = layout::PML4.0;
        sregs.cr4 = CR4_PAE;
        sregs.efer = EFER_LME | EFER_LMA;
    } else {
        sregs.cr0 = CR0_PE | CR0_ET;
        sregs.cr3 = 0;
        sregs.cr4 = 0;
        sregs.efer = 0;
    }
    sregs
}

/// The floating-point state that a vCPU has after `fninit` (Intel SDM volume 1, section 8.1.5).
#[must_use]
pub fn boot_fpu() -> kvm_fpu {
    kvm_fpu {
        fcw: 0x37f,
        mxcsr: 0x1f80,
        ..kvm_fpu::default()
    }
}

/// Writes the GDT, and for the 64-bit protocol page tables that map the first 4 GiB to themselves in 2 MiB
/// pages: wherever below the hole a kernel lies, it finds itself, `boot_params` and its command line.
///
/// # Errors
/// When guest memory is smaller than [`layout::MIN_MEMORY`].
pub fn write_tables<M: GuestMemoryBackend>(
    memory: &M,
    protocol: Protocol,
) -> Result<(), GuestMemoryError> {
    let long = protocol == Protocol::Linux64;
    let gdt = [
        0,
        0,
        Segment::code(long).descriptor(),
        Segment::DATA.descriptor(),
        Segment::TSS.descriptor(),
    ];
    let bytes: Vec<u8> = gdt
        .iter()
        .flat_map(|entry: &u64| entry.to_le_bytes())
        .collect();
    memory.write_slice(&bytes, layout::GDT)?;
    memory.write_obj(0_u64, layout::IDT)?;
    if long {
        memory.write_obj(layout::PDPT.0 | PRESENT_WRITABLE, layout::PML4)?;
        let directories = (0..4_u64).map(|gib| layout::PAGE_DIRECTORY.0 + gib * layout::PAGE_SIZE);
        let bytes: Vec<u8> = directories
            .flat_map(|directory| (directory | PRESENT_WRITABLE).to_le_bytes())
            .collect();
        memory.write_slice(&bytes, layout::PDPT)?;
        let entries = (0..4 * 512_u64).map(|page| page << 21 | PRESENT_WRITABLE | HUGE_PAGE);
        let bytes: Vec<u8> = entries.flat_map(u64::to_le_bytes).collect();
        memory.write_slice(&bytes, layout::PAGE_DIRECTORY)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_of_a_flat_gdt() {
        assert_eq!(Segment::code(true).descriptor(), 0x00af_9b00_0000_ffff);
        assert_eq!(Segment::code(false).descriptor(), 0x00cf_9b00_0000_ffff);
        assert_eq!(Segment::DATA.descriptor(), 0x00cf_9300_0000_ffff);
        assert_eq!(Segment::TSS.descriptor(), 0x0000_8b00_0000_0067);
    }
}
