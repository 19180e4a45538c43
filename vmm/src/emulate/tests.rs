use hull_vm_api::config::MachineConfig;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::decode::{Instruction, Operation, decode};
use super::paging::{Access, Pages};
use super::xsave::{Area, length};
use super::*;

pub(super) fn memory() -> GuestMemory {
    let machine = MachineConfig {
        mem_size_mib: 32,
        ..MachineConfig::default()
    };
    crate::memory::map(&machine).expect("memory")
}

/// Tables that map the linear addresses from 0 on: 4 KiB pages for the first 2 MiB, of which page 3 is absent and page 4
/// read-only, and one page of 2 MiB behind.
pub(super) fn tables(memory: &GuestMemory) -> kvm_sregs {
    let put = |at: u64, entry: u64| memory.write_obj(entry, GuestAddress(at)).expect("an entry");
    put(0x1_0000, 0x1_1003);
    put(0x1_1000, 0x1_2003);
    put(0x1_2000, 0x1_3003);
    put(0x1_2008, 0x83);
    for page in (0..512).filter(|page| *page != 3) {
        let writable = if page == 4 { 0 } else { 2 };
        put(
            0x1_3000 + page * 8,
            (0x2_0000 + page * 0x1000) | 1 | writable,
        );
    }
    kvm_sregs {
        cr0: 1 << 16,
        cr3: 0x1_0000,
        ..kvm_sregs::default()
    }
}

#[test]
fn pages_are_found_as_a_processor_finds_them() {
    let memory = memory();
    let sregs = tables(&memory);
    let pages = Pages::new(&memory, &sregs);
    pages.write(0x1ffe, b"over a border").expect("both pages");
    let mut found = [0; 13];
    memory
        .read_slice(&mut found[..2], GuestAddress(0x2_1ffe))
        .expect("memory");
    memory
        .read_slice(&mut found[2..], GuestAddress(0x2_2000))
        .expect("memory");
    assert_eq!(&found, b"over a border");
    pages
        .read(0x20_1ffe, &mut found, Access::Read)
        .expect("a large page");

    let fault = |address, code| Err(Fault::Page { address, code });
    assert_eq!(pages.write(0x2ffe, &[1; 4]), fault(0x3000, 2));
    assert_eq!(pages.read(0x3000, &mut [0], Access::Read), fault(0x3000, 0));
    assert_eq!(pages.write(0x4000, &[1]), fault(0x4000, 3));
    pages
        .read(0x4000, &mut [0], Access::Read)
        .expect("it can be read");
    assert_eq!(pages.read_some(0x2ffe, &mut [0; 15]), 2);
    // Tables and pages outside of memory are faults, too.
    memory
        .write_obj(0x7000_0003_u64, GuestAddress(0x1_1000))
        .expect("an entry");
    assert_eq!(pages.read(0, &mut [0], Access::Read), fault(0, 0));
}

#[test]
fn instructions_are_told_apart() {
    let regs = kvm_regs {
        rdi: 0x1000,
        rbx: 0x20,
        r12: 0x8000,
        rip: 0x10_0000,
        ..kvm_regs::default()
    };
    let mut sregs = kvm_sregs::default();
    sregs.gs.base = 0xffff_0000_0000_0000;
    let found = |code: &[u8]| decode(code, &regs, &sregs);
    let some = |operation: fn(u64) -> Operation, address, length| {
        Some(Instruction {
            operation: operation(address),
            length,
        })
    };
    use Operation::{Restore, Save, SegmentLimit};
    assert_eq!(found(&[0x48, 0x0f, 0xae, 0x27]), some(Save, 0x1000, 4));
    assert_eq!(found(&[0x48, 0x0f, 0xae, 0x2f]), some(Restore, 0x1000, 4));
    assert_eq!(found(&[0x48, 0x0f, 0xae, 0x77, 0xc0]), some(Save, 0xfc0, 5));
    // [r12 + rbx * 4 + 0x40]
    assert_eq!(
        found(&[0x49, 0x0f, 0xae, 0x64, 0x9c, 0x40]),
        some(Save, 0x80c0, 6)
    );
    // [rip - 8], and gs:[0x100]
    let relative = [0x48, 0x0f, 0xae, 0x2d, 0xf8, 0xff, 0xff, 0xff];
    assert_eq!(found(&relative), some(Restore, 0x10_0000, 8));
    let percpu = [0x65, 0x48, 0x0f, 0xae, 0x24, 0x25, 0, 1, 0, 0];
    assert_eq!(found(&percpu), some(Save, 0xffff_0000_0000_0100, 10));
    // LSL RAX, AX, and LSL R9, R12W; of memory it is not known.
    let limit = |selector, target| {
        Some(Instruction {
            operation: SegmentLimit { selector, target },
            length: 4,
        })
    };
    assert_eq!(found(&[0x48, 0x0f, 0x03, 0xc3]), limit(0x20, 0));
    assert_eq!(found(&[0x4d, 0x0f, 0x03, 0xcc]), limit(0x8000, 9));
    assert_eq!(found(&[0x48, 0x0f, 0x03, 0x07]), None);
    // Other instructions: LFENCE, FXSAVE64, the 32-bit form, XSAVEC64, INT3, and nothing at all.
    for code in [
        &[0x48, 0x0f, 0xae, 0xe8][..],
        &[0x48, 0x0f, 0xae, 0x07],
        &[0x0f, 0xae, 0x27],
        &[0x48, 0x0f, 0xc7, 0x27],
        &[0xcc],
        &[0x48, 0x0f, 0xae],
        &[],
    ] {
        assert_eq!(found(code), None, "{code:02x?}");
    }
}

/// x87, SSE and AVX, which every processor that runs this has.
const ALL: u64 = 7;

fn area(seed: u8, held: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length(ALL))
        .map(|at| seed.wrapping_mul(at.to_le_bytes()[0]))
        .collect();
    bytes[24..32].copy_from_slice(&[0x80, 0x1f, 0, 0, 0xff, 0xff, 0, 0]);
    bytes[512..576].fill(0);
    bytes[512..520].copy_from_slice(&held.to_le_bytes());
    bytes
}

#[test]
fn only_what_is_asked_for_is_saved() {
    let mut registers = area(3, ALL);
    let mut image = area(5, ALL);
    Area::new(&mut image).save(&Area::new(&mut registers), 2);
    assert_eq!(image[160..416], registers[160..416], "SSE");
    assert_eq!(image[..24], area(5, ALL)[..24], "x87");
    assert_eq!(image[576..], area(5, ALL)[576..], "AVX");
}

#[test]
fn what_an_image_does_not_hold_is_initial() {
    let mut registers = area(3, ALL);
    let mut image = area(5, 2);
    Area::new(&mut registers)
        .restore(&Area::new(&mut image), ALL, ALL)
        .expect("a sound image");
    assert_eq!(registers[160..416], image[160..416]);
    assert_eq!(
        registers[..3],
        [0x7f, 3, 0],
        "FCW, and the rest of x87 zero"
    );
    assert!(
        registers[576..].iter().all(|byte| *byte == 0),
        "AVX is zero"
    );
}

#[test]
fn images_that_break_the_rules_are_refused() {
    let refused = |change: fn(&mut [u8])| {
        let (mut registers, mut image) = (area(3, ALL), area(5, ALL));
        change(&mut image);
        let result = Area::new(&mut registers).restore(&Area::new(&mut image), ALL, ALL);
        assert_eq!(result, Err(Fault::GeneralProtection));
        assert_eq!(registers, area(3, ALL), "nothing was loaded");
    };
    refused(|image| image[512] = 0xff);
    refused(|image| image[527] = 0x80);
    refused(|image| image[535] = 1);
    refused(|image| image[27] = 1);
}

proptest! {
    #[test]
    fn what_was_saved_comes_back(seed in any::<u8>(), held in 0..=ALL, wanted in 0..=ALL) {
        let mut registers = area(seed, held | wanted);
        let mut image = area(seed ^ 0x55, 0);
        Area::new(&mut image).save(&Area::new(&mut registers), wanted);
        let mut other = area(!seed, ALL);
        Area::new(&mut other).restore(&Area::new(&mut image), wanted, ALL).expect("sound");
        let mut again = area(0, 0);
        Area::new(&mut again).save(&Area::new(&mut other), wanted);
        let mut first = area(0, 0);
        Area::new(&mut first).save(&Area::new(&mut registers), wanted);
        prop_assert_eq!(&again[..512], &first[..512]);
        prop_assert_eq!(&again[576..], &first[576..]);
    }

    #[test]
    fn no_bytes_upset_the_decoder(code in prop::collection::vec(any::<u8>(), 0..16)) {
        let _ = decode(&code, &kvm_regs::default(), &kvm_sregs::default());
    }

    #[test]
    fn no_tables_upset_the_walk(entries in prop::collection::vec(any::<u64>(), 64), address: u64, cr3: u64) {
        let memory = memory();
        for (at, entry) in (0..).step_by(8).zip(&entries) {
            // Within memory, so that walks go on.
            memory.write_obj(entry & 0x8000_0000_000f_ffff, GuestAddress(at)).expect("memory");
        }
        let sregs = kvm_sregs { cr0: 1 << 16, cr3: cr3 & 0xf_ffff, ..kvm_sregs::default() };
        let pages = Pages::new(&memory, &sregs);
        let _ = pages.read(address, &mut [0; 600], Access::Write);
        let _ = pages.write(address & 0xffff, &[7; 600]);
    }
}
