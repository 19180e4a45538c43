//! Where things are in guest-physical memory.
//!
//! ```text
//! 0x0000_0500  GDT                         0x000e_0000  ACPI tables
//! 0x0000_6000  PVH start information       0x000e_f000  the generation's identifier
//! 0x0000_7000  boot_params (zero page)     0x000f_0000  MP configuration table
//! 0x0000_9000  page tables                 0x0010_0000  kernel, and above it RAM
//! 0x0001_0000  setup_data: the random seed 0xc000_0000  hole: virtio-mmio, I/O APIC, APIC, KVM's own
//! 0x0002_0000  command line                0x1_0000_0000  the rest of RAM
//! 0x0009_fc00  MP floating pointer
//! ```
//!
//! Sources: Linux `Documentation/arch/x86/boot.rst` for what must be below 1 MiB, Intel MP specification 1.4,
//! section 4, and ACPI 6.5, section 5.2.5.1, for where a kernel searches tables.

use vm_memory::GuestAddress;

/// A guest-physical address.
pub type Gpa = GuestAddress;

pub const MIB: u64 = 1 << 20;
pub const PAGE_SIZE: u64 = 4096;

/// The smallest memory with which a Linux guest boots, in bytes.
pub const MIN_MEMORY: u64 = 32 * MIB;
/// The most memory that a machine may have, in bytes: what 40 bits of guest-physical address hold.
pub const MAX_MEMORY: u64 = (1 << 40) - HOLE_SIZE;

pub const GDT: Gpa = GuestAddress(0x500);
pub const IDT: Gpa = GuestAddress(0x520);
pub const PVH_START_INFO: Gpa = GuestAddress(0x6000);
pub const PVH_MODULES: Gpa = GuestAddress(0x6040);
pub const PVH_MEMORY_MAP: Gpa = GuestAddress(0x6100);
pub const BOOT_PARAMS: Gpa = GuestAddress(0x7000);
pub const BOOT_STACK: Gpa = GuestAddress(0x8ff0);
pub const PML4: Gpa = GuestAddress(0x9000);
pub const PDPT: Gpa = GuestAddress(0xa000);
/// Four page directories, one for each GiB below 4 GiB.
pub const PAGE_DIRECTORY: Gpa = GuestAddress(0xb000);
pub const SETUP_DATA: Gpa = GuestAddress(0x1_0000);
pub const COMMAND_LINE: Gpa = GuestAddress(0x2_0000);
/// The longest command line with its final zero, in bytes (`COMMAND_LINE_SIZE` of x86 Linux).
pub const COMMAND_LINE_MAX: usize = 2048;

/// The end of conventional memory; the floating pointer lies in the last KiB of the first 640 KiB.
pub const LOW_RAM_END: u64 = 0x9_fc00;
pub const MP_FLOATING_POINTER: Gpa = GuestAddress(LOW_RAM_END);
/// ACPI tables start with the root pointer, where the BIOS read-only memory of a PC begins.
pub const ACPI_TABLES: Gpa = GuestAddress(0xe_0000);
/// The 16 bytes that say which machine this is of all that went on from one snapshot (`VM_Gen_Counter`), alone in their page.
pub const GENERATION: Gpa = GuestAddress(0xe_f000);
pub const MP_TABLE: Gpa = GuestAddress(0xf_0000);
pub const TABLES_END: u64 = 0x10_0000;
pub const HIGH_RAM: Gpa = GuestAddress(0x10_0000);

/// Nothing of RAM is between this and 4 GiB.
pub const HOLE: Gpa = GuestAddress(0xc000_0000);
pub const HOLE_SIZE: u64 = 0x4000_0000;
pub const RAM_ABOVE_HOLE: Gpa = GuestAddress(0x1_0000_0000);

/// The first register window of a virtio-mmio device; each has one page.
pub const VIRTIO_MMIO: Gpa = GuestAddress(0xd000_0000);
pub const VIRTIO_MMIO_SIZE: u64 = PAGE_SIZE;
pub const IOAPIC: Gpa = GuestAddress(0xfec0_0000);
pub const LOCAL_APIC: Gpa = GuestAddress(0xfee0_0000);
/// For `KVM_SET_IDENTITY_MAP_ADDR` (one page) and `KVM_SET_TSS_ADDR` (three pages), which VT-x without
/// unrestricted guests needs.
pub const KVM_IDENTITY_MAP: Gpa = GuestAddress(0xfffb_c000);
pub const KVM_TSS: Gpa = GuestAddress(0xfffb_d000);

/// The interrupt line (GSI) of a new generation, unless a virtio device has it: then there is none. Linux gives nobody that by which a PC's
/// second interrupt controller reaches the first.
pub const GENERATION_GSI: u32 = LAST_GSI;
/// The interrupt line (GSI) of the power button: that of a PC's second serial port, which this machine has not.
pub const POWER_BUTTON_GSI: u32 = 3;
/// The first interrupt line (GSI) of a virtio-mmio device; those below belong to a PC's own devices.
pub const VIRTIO_FIRST_GSI: u32 = 5;
/// The last pin of KVM's I/O APIC.
pub const LAST_GSI: u32 = 23;

/// I/O port of the ACPI sleep control register (ACPI 6.5, section 4.8.3.7); its status register follows.
pub const ACPI_SLEEP_PORT: u16 = 0x600;
/// What a guest writes to [`ACPI_SLEEP_PORT`] to power off: SLP_EN and the sleep type of `\_S5`.
pub const ACPI_POWER_OFF: u8 = 0x20 | (5 << 2);
/// I/O port and value that reset the machine: the keyboard controller's pulse of the reset line.
pub const RESET_PORT: u16 = 0x64;
pub const RESET_VALUE: u8 = 0xfe;
/// I/O ports of COM1, and its interrupt line (GSI).
pub const COM1: std::ops::Range<u16> = 0x3f8..0x400;
pub const COM1_GSI: u32 = 4;
/// I/O port of the pvpanic device (QEMU `docs/specs/pvpanic.rst`).
pub const PVPANIC_PORT: u16 = 0x505;

/// The slot of a virtio-mmio device: its register window and its interrupt line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioSlot {
    pub base: Gpa,
    pub gsi: u32,
}

/// Slot `index` of the virtio-mmio window; `None` beyond the last interrupt line.
#[must_use]
pub fn virtio_slot(index: u32) -> Option<VirtioSlot> {
    let gsi = VIRTIO_FIRST_GSI
        .checked_add(index)
        .filter(|gsi| *gsi <= LAST_GSI)?;
    let base = GuestAddress(VIRTIO_MMIO.0 + u64::from(index) * VIRTIO_MMIO_SIZE);
    Some(VirtioSlot { base, gsi })
}

impl VirtioSlot {
    /// What tells Linux of this device on its command line (`virtio_mmio.device` in
    /// `drivers/virtio/virtio_mmio.c`).
    #[must_use]
    pub fn command_line(&self) -> String {
        format!(
            "virtio_mmio.device={}K@{:#x}:{}",
            VIRTIO_MMIO_SIZE >> 10,
            self.base.0,
            self.gsi
        )
    }
}

/// The RAM of a machine with `size` bytes: one region, or two around the hole.
#[must_use]
pub fn memory_regions(size: u64) -> Vec<(Gpa, u64)> {
    if size <= HOLE.0 {
        vec![(GuestAddress(0), size)]
    } else {
        vec![(GuestAddress(0), HOLE.0), (RAM_ABOVE_HOLE, size - HOLE.0)]
    }
}

/// Where the RAM ends that lies below the hole.
#[must_use]
pub fn low_memory_end(size: u64) -> u64 {
    size.min(HOLE.0)
}

/// What an address range is to the guest's operating system (ACPI 6.5, section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeKind {
    Ram = 1,
    Reserved = 2,
}

/// One entry of the e820 map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub base: u64,
    pub size: u64,
    pub kind: RangeKind,
}

/// The e820 map of a machine with `size` bytes of memory.
#[must_use]
pub fn e820(size: u64) -> Vec<Range> {
    let ram = |base, end: u64| Range {
        base,
        size: end - base,
        kind: RangeKind::Ram,
    };
    let mut map = vec![
        ram(0, LOW_RAM_END),
        Range {
            base: LOW_RAM_END,
            size: TABLES_END - LOW_RAM_END,
            kind: RangeKind::Reserved,
        },
        ram(HIGH_RAM.0, low_memory_end(size).max(HIGH_RAM.0)),
    ];
    if size > HOLE.0 {
        map.push(ram(RAM_ABOVE_HOLE.0, RAM_ABOVE_HOLE.0 + size - HOLE.0));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_split_around_the_hole_and_none_is_lost() {
        for size in [MIN_MEMORY, 256 * MIB, HOLE.0, HOLE.0 + PAGE_SIZE, 64 << 30] {
            let regions = memory_regions(size);
            assert_eq!(regions.iter().map(|(_, size)| size).sum::<u64>(), size);
            assert!(
                regions
                    .iter()
                    .all(|(base, size)| base.0 + size <= HOLE.0 || base.0 >= 1 << 32)
            );
            let ram: u64 = e820(size)
                .iter()
                .filter(|range| range.kind == RangeKind::Ram)
                .map(|range| range.size)
                .sum();
            assert_eq!(ram, size - (TABLES_END - LOW_RAM_END));
        }
    }

    #[test]
    fn slots_end_with_the_interrupt_lines() {
        let first = virtio_slot(0).expect("a slot");
        assert_eq!(first.command_line(), "virtio_mmio.device=4K@0xd0000000:5");
        assert_eq!(virtio_slot(18).map(|slot| slot.gsi), Some(LAST_GSI));
        assert_eq!(virtio_slot(19), None);
        assert_eq!(virtio_slot(u32::MAX), None);
    }
}
