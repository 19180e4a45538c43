//! The machine's state that a micro-guest starts with: where things are in its memory, registers, segments, page tables.

use hull_arch::boot::{Entry, Protocol};
use hull_arch::regs;
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use vm_memory::GuestAddress;

/// Where memory operands are: RSI at the start, aligned to 64 and zero.
pub(super) const SCRATCH: u64 = 0xc000;
/// Where a handler of breakpoints goes, and where `syscall` goes.
pub(super) const HANDLER: u64 = 0x9000;

/// Bytes of memory.
pub(super) const MEMORY: usize = 0x1_0000;
/// Page tables: the root, and two levels below it.
pub(super) const ROOT: u64 = 0x2000;
const DIRECTORIES: u64 = 0x3000;
const PAGES: u64 = 0x4000;
/// The interrupt table.
pub(super) const INTERRUPTS: u64 = 0x5000;
/// Where programs start.
pub(super) const CODE: u64 = 0x8000;
const STACK: u64 = 0xfff0;
/// Where segments are described.
pub(super) const GDT: u64 = 0x1000;

const PRESENT_WRITABLE: u64 = 3;
const USER: u64 = 4;
const LARGE: u64 = 0x80;
/// CR4: FXSAVE and its exceptions, so that SSE works.
const CR4_SSE: u64 = 3 << 9;
const EFER_SCE: u64 = 1;
/// RFLAGS: CPL 3 may use I/O ports.
const IO_PRIVILEGE: u64 = 3 << 12;

/// Selectors as `syscall` and `sysret` compute them from STAR.
pub(super) const KERNEL_CODE: u16 = 0x10;
const USER_DATA: u16 = 0x28 | 3;
const USER_CODE: u16 = 0x30 | 3;

/// The privilege with which a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Kernel,
    User,
}

/// Registers at the start of a program.
pub(super) fn general_registers(level: Level) -> kvm_regs {
    kvm_regs {
        rip: CODE,
        rsp: STACK,
        rsi: SCRATCH,
        rflags: match level {
            Level::Kernel => 2,
            Level::User => 2 | IO_PRIVILEGE,
        },
        ..Default::default()
    }
}

/// Long mode at a level, from what a fresh vCPU has.
pub(super) fn system_registers(fresh: kvm_sregs, level: Level, handler: bool) -> kvm_sregs {
    let entry = Entry {
        address: GuestAddress(CODE),
        protocol: Protocol::Linux64,
    };
    let mut sregs = regs::boot_sregs(&entry, fresh);
    sregs.cr3 = ROOT;
    sregs.cr4 |= CR4_SSE;
    sregs.efer |= EFER_SCE;
    sregs.gdt.base = GDT;
    sregs.gdt.limit = 7 * 8 - 1;
    sregs.idt.base = INTERRUPTS;
    sregs.idt.limit = if handler { 4 * 16 - 1 } else { 0 };
    if level == Level::User {
        let user = |segment: kvm_segment, selector: u16| kvm_segment {
            selector,
            dpl: 3,
            ..segment
        };
        sregs.cs = user(sregs.cs, USER_CODE);
        let data = user(sregs.ds, USER_DATA);
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    }
    sregs
}

/// The segments in memory, for what loads them there.
pub(super) fn descriptors() -> Vec<u8> {
    let entries: [u64; 7] = [
        0,
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
    ];
    entries
        .iter()
        .flat_map(|entry| entry.to_le_bytes())
        .collect()
}

/// Root, directory and one page of 2 MiB at address 0, which CPL 3 may use if it is to run there.
pub(super) fn tables(level: Level) -> Vec<u8> {
    let flags = match level {
        Level::Kernel => PRESENT_WRITABLE,
        Level::User => PRESENT_WRITABLE | USER,
    };
    let mut bytes = Vec::with_capacity(3 * 4096);
    for entry in [DIRECTORIES | flags, PAGES | flags, flags | LARGE] {
        bytes.extend(entry.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
    }
    bytes
}

/// An interrupt table with a gate for breakpoints (vector 3), or without any.
pub(super) fn interrupt_table(handler: bool) -> Vec<u8> {
    let mut table = vec![0; 4 * 16];
    if handler {
        let [low, high, ..] = HANDLER.to_le_bytes();
        let [segment, zero] = KERNEL_CODE.to_le_bytes();
        // Offset, selector, no other stack, present interrupt gate.
        let gate = [low, high, segment, zero, 0, 0x8e, 0, 0];
        table.splice(48..56, gate);
    }
    table
}
