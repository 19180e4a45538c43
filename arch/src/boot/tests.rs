//! Kernels of every kind, and files that are none.

use std::io::Cursor;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::topology::Topology;

const SIZE: u64 = 32 << 20;

fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 32 << 20)]).expect("memory")
}

/// A kernel of one page at 2 MiB, entered at its start, with a PVH note behind it if wanted.
fn elf(pvh: bool) -> Vec<u8> {
    let mut file = vec![0; 0x2000];
    file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    file[18] = 62;
    file[24..32].copy_from_slice(&0x20_0000_u64.to_le_bytes());
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[54] = 56;
    file[56] = if pvh { 2 } else { 1 };
    segment(&mut file[64..120], 1, 0x1000, 0x20_0000, 0x100, 0x1000);
    segment(&mut file[120..176], 4, 0x1800, 0x20_0800, 20, 20);
    file[0x1000] = 0xf4;
    for (at, word) in [
        (0x1800, 4_u32),
        (0x1804, 4),
        (0x1808, 18),
        (0x1810, 0x20_0010),
    ] {
        file[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    file[0x180c..0x1810].copy_from_slice(b"Xen\0");
    file
}

fn segment(header: &mut [u8], kind: u32, offset: u64, address: u64, in_file: u64, in_memory: u64) {
    header[..4].copy_from_slice(&kind.to_le_bytes());
    for (at, value) in [
        (8, offset),
        (16, address),
        (24, address),
        (32, in_file),
        (40, in_memory),
    ] {
        header[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

fn bzimage() -> Vec<u8> {
    let mut file = vec![0; 0x3000];
    file[0x1f1] = 4;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    file[0x211] = 1;
    file[0x214..0x218].copy_from_slice(&0x10_0000_u32.to_le_bytes());
    file[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    file[0x236] = 1;
    file[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
    file[0x258..0x260].copy_from_slice(&0x100_0000_u64.to_le_bytes());
    file[0x260..0x264].copy_from_slice(&0x20_0000_u32.to_le_bytes());
    file
}

fn load(file: &[u8]) -> Result<Kernel, Error> {
    load_kernel(&memory(), SIZE, &mut Cursor::new(file))
}

#[test]
fn each_kind_of_kernel_is_entered_where_its_protocol_says() {
    let plain = load(&elf(false)).expect("an ELF kernel");
    let linux = |address| Entry {
        address: GuestAddress(address),
        protocol: Protocol::Linux64,
    };
    assert_eq!(plain.entry, linux(0x20_0000));
    assert_eq!(plain.end, GuestAddress(0x20_1000));
    let pvh = load(&elf(true)).expect("a PVH kernel");
    assert_eq!(
        pvh.entry,
        Entry {
            address: GuestAddress(0x20_0010),
            protocol: Protocol::Pvh
        }
    );
    let mut linux_with_pvh = elf(true);
    linux_with_pvh[120 + 32] = 44; // two notes: the second is of Linux
    for (at, word) in [(0x1814, 6_u32), (0x1818, 4), (0x181c, 0x100)] {
        linux_with_pvh[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    linux_with_pvh[0x1820..0x1826].copy_from_slice(b"Linux\0");
    let both = load(&linux_with_pvh).expect("a Linux kernel");
    assert_eq!(both.entry, linux(0x20_0000));
    let compressed = load(&bzimage()).expect("a bzImage");
    assert_eq!(compressed.entry, linux(0x10_0200));
    assert_eq!(compressed.end, GuestAddress(0x120_0000));
}

#[test]
fn files_that_are_no_kernel_are_refused_with_the_reason() {
    for (change, words) in [
        (
            &(|file: &mut Vec<u8>| file[4] = 1) as &dyn Fn(&mut Vec<u8>),
            "64-bit",
        ),
        (&|file| file[5] = 2, "little-endian"),
        (&|file| file[18] = 183, "another architecture"),
        (&|file| file.truncate(0x1080), "copied whole"),
        (&|file| file.truncate(100), "copied whole"),
        (&|file| file[0] = 0, "no kernel"),
        (&|file| file.clear(), "no kernel"),
        (
            &|file| file[64 + 24..64 + 32].copy_from_slice(&[0; 8]),
            "below 1 MiB",
        ),
        (&|file| file[64 + 47] = 0x7f, "does not fit"),
        (&|file| file[64 + 31] = 0xff, "does not fit"),
    ] {
        let mut file = elf(false);
        change(&mut file);
        let error = load(&file).expect_err(words).to_string();
        assert!(error.contains(words), "{words:?} is not in {error:?}");
    }
}

#[test]
fn the_initramfs_lies_high_and_must_fit_above_the_kernel() {
    let memory = memory();
    let kernel = load_kernel(&memory, SIZE, &mut Cursor::new(elf(false))).expect("a kernel");
    let content = vec![7; 5000];
    let initrd =
        load_initrd(&memory, SIZE, &kernel, &mut Cursor::new(&content)).expect("an initramfs");
    assert_eq!(initrd.address, GuestAddress(SIZE - 8192));
    assert_eq!(
        memory
            .read_obj::<u8>(GuestAddress(SIZE - 8192 + 4999))
            .expect("memory"),
        7
    );

    let large = vec![0; 31 << 20];
    let error =
        load_initrd(&memory, SIZE, &kernel, &mut Cursor::new(&large)).expect_err("too large");
    assert!(matches!(error, Error::InitrdTooLarge { .. }));
    let empty: &[u8] = &[];
    let error = load_initrd(&memory, SIZE, &kernel, &mut Cursor::new(empty)).expect_err("empty");
    assert!(matches!(error, Error::EmptyInitrd));
}

#[test]
fn the_kernel_finds_its_command_line_and_memory() {
    let memory = memory();
    let machine = Machine {
        memory_size: SIZE,
        topology: Topology::new(2, false),
        initrd: None,
        devices: &[],
        serial: false,
        seed: [5; 32],
        generation: [6; 16],
    };
    let kernel = load_kernel(&memory, SIZE, &mut Cursor::new(elf(false))).expect("a kernel");
    configure(&memory, &kernel, "quiet", &machine).expect("a machine");
    let mut text = [0xff; 6];
    memory
        .read_slice(&mut text, layout::COMMAND_LINE)
        .expect("memory");
    assert_eq!(&text, b"quiet\0");
    let entries: u8 = memory
        .read_obj(GuestAddress(0x7000 + 0x1e8))
        .expect("memory");
    assert_eq!(entries, 3);
    let data: u64 = memory
        .read_obj(GuestAddress(0x7000 + 0x250))
        .expect("memory");
    let mut seed = [0; 48];
    memory
        .read_slice(&mut seed, GuestAddress(data))
        .expect("memory");
    assert_eq!(seed[8..16], [9, 0, 0, 0, 32, 0, 0, 0]);
    assert_eq!(seed[16..], [5; 32]);

    let kernel = load_kernel(&memory, SIZE, &mut Cursor::new(elf(true))).expect("a kernel");
    configure(&memory, &kernel, "quiet", &machine).expect("a machine");
    let magic: u32 = memory.read_obj(layout::PVH_START_INFO).expect("memory");
    assert_eq!(magic, 0x336e_c578);

    let long = "x".repeat(5000);
    let error = configure(&memory, &kernel, &long, &machine).expect_err("too long");
    assert!(error.to_string().contains("5000"));
    assert!(configure(&memory, &kernel, "a\0b", &machine).is_err());
}

proptest! {
    #[test]
    fn no_file_makes_the_loader_panic(
        kind in 0..3_usize, changes in prop::collection::vec((0..0x400_usize, any::<u8>()), 0..12),
        length in 0..0x3000_usize,
    ) {
        let mut file = [elf(false), elf(true), bzimage()][kind].clone();
        for (at, byte) in changes {
            file[at] = byte;
        }
        file.truncate(length.max(1));
        if let Ok(kernel) = load(&file) {
            prop_assert!(kernel.end.0 <= SIZE);
        }
    }
}
