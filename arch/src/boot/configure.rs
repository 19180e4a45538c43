//! What the kernel is told: the memory map, the command line, the initramfs, and the tables of the machine.

use linux_loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use linux_loader::start_info::{
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{Address, ByteValued, Bytes, GuestAddress, GuestMemoryBackend};

use super::{Error, Initrd, Kernel, Protocol};
use crate::layout::{self, Gpa, RangeKind, VirtioSlot};
use crate::topology::Topology;
use crate::{acpi, mptable, regs};

/// "0xff: no assigned id" of the boot protocol's `type_of_loader`.
const LOADER_UNDEFINED: u8 = 0xff;
const BOOT_FLAG: u16 = 0xaa55;
const HEADER_MAGIC: u32 = 0x5372_6448;
/// Type of a `setup_data` entry (`arch/x86/include/uapi/asm/setup_data.h`).
const SETUP_RNG_SEED: u32 = 9;

/// What there is besides the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// Bytes of RAM.
    pub memory_size: u64,
    pub topology: Topology,
    pub initrd: Option<Initrd>,
    /// The slots of the virtio-mmio devices, for the ACPI tables.
    pub devices: &'a [VirtioSlot],
    /// Whether there is a 16550 at COM1, for the ACPI tables.
    pub serial: bool,
    /// Random bytes of the host, so that the guest's generator is ready from its first line. Only the Linux
    /// protocol has a place for them.
    pub seed: [u8; 32],
    /// Random bytes that no other machine has, for ACPI's identifier of a machine's generation.
    pub generation: [u8; 16],
}

/// Writes everything that the boot vCPU finds when it starts: GDT and page tables, MP and ACPI tables, the
/// command line, and `boot_params` or the PVH start information.
///
/// The MP table and ACPI are both there. A kernel with ACPI uses that; `acpi=off`, or a kernel without it, makes
/// it use the MP table, which takes no interpreter to read and boots faster.
///
/// # Errors
/// When the command line is too long or has bytes that end it early, or memory is too small.
pub fn configure<M: GuestMemoryBackend>(
    memory: &M,
    kernel: &Kernel,
    command_line: &str,
    machine: &Machine<'_>,
) -> Result<(), Error> {
    write_command_line(memory, command_line, kernel.setup)?;
    regs::write_tables(memory, kernel.entry.protocol)?;
    mptable::write(memory, machine.topology)?;
    memory.write_slice(&machine.generation, layout::GENERATION)?;
    let rsdp = acpi::write(memory, machine.topology, machine.devices, machine.serial)?;
    match kernel.entry.protocol {
        Protocol::Linux64 => write_boot_params(memory, kernel, command_line, machine, rsdp),
        Protocol::Pvh => write_start_info(memory, machine, rsdp),
    }
}

fn write_command_line<M: GuestMemoryBackend>(
    memory: &M,
    command_line: &str,
    setup: Option<setup_header>,
) -> Result<(), Error> {
    let own = setup.map_or(usize::MAX, |setup| {
        usize::try_from(setup.cmdline_size).unwrap_or(0)
    });
    let limit = own.min(layout::COMMAND_LINE_MAX - 1);
    if command_line.len() > limit {
        return Err(Error::CommandLineTooLong {
            length: command_line.len(),
            limit,
        });
    }
    if command_line.contains(['\0', '\n']) {
        return Err(Error::CommandLineInvalid);
    }
    let bytes = [command_line.as_bytes(), &[0]].concat();
    Ok(memory.write_slice(&bytes, layout::COMMAND_LINE)?)
}

fn write_boot_params<M: GuestMemoryBackend>(
    memory: &M,
    kernel: &Kernel,
    command_line: &str,
    machine: &Machine<'_>,
    rsdp: Gpa,
) -> Result<(), Error> {
    let mut params = boot_params {
        acpi_rsdp_addr: rsdp.0,
        ..boot_params::default()
    };
    let mut header = kernel.setup.unwrap_or_default();
    header.type_of_loader = LOADER_UNDEFINED;
    header.boot_flag = BOOT_FLAG;
    header.header = HEADER_MAGIC;
    header.cmd_line_ptr = low(layout::COMMAND_LINE.0);
    header.cmdline_size = low(command_line.len() as u64);
    if let Some(initrd) = machine.initrd {
        header.ramdisk_image = low(initrd.address.0);
        header.ramdisk_size = low(initrd.size);
    }
    header.setup_data = write_seed(memory, machine.seed)?;
    if kernel.setup.is_none() {
        header.kernel_alignment = 0x100_0000;
    }
    params.hdr = header;

    let map = layout::e820(machine.memory_size);
    let mut table = params.e820_table;
    for (entry, range) in table.iter_mut().zip(&map) {
        *entry = boot_e820_entry {
            addr: range.base,
            size: range.size,
            r#type: range.kind as u32,
        };
    }
    params.e820_table = table;
    params.e820_entries = u8::try_from(map.len()).unwrap_or(u8::MAX);
    Ok(memory.write_slice(params.as_slice(), layout::BOOT_PARAMS)?)
}

/// Writes the one entry of the `setup_data` list and returns where it is. The kernel wipes the seed once it has
/// mixed it in.
fn write_seed<M: GuestMemoryBackend>(memory: &M, seed: [u8; 32]) -> Result<u64, Error> {
    let mut entry = Vec::with_capacity(48);
    entry.extend(0_u64.to_le_bytes()); // no other entry follows
    entry.extend(SETUP_RNG_SEED.to_le_bytes());
    entry.extend(low(seed.len() as u64).to_le_bytes());
    entry.extend(seed);
    memory.write_slice(&entry, layout::SETUP_DATA)?;
    Ok(layout::SETUP_DATA.0)
}

fn write_start_info<M: GuestMemoryBackend>(
    memory: &M,
    machine: &Machine<'_>,
    rsdp: Gpa,
) -> Result<(), Error> {
    let map = layout::e820(machine.memory_size);
    let mut info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        cmdline_paddr: layout::COMMAND_LINE.0,
        rsdp_paddr: rsdp.0,
        memmap_paddr: layout::PVH_MEMORY_MAP.0,
        memmap_entries: low(map.len() as u64),
        ..hvm_start_info::default()
    };
    if let Some(initrd) = machine.initrd {
        info.nr_modules = 1;
        info.modlist_paddr = layout::PVH_MODULES.0;
        let module = hvm_modlist_entry {
            paddr: initrd.address.0,
            size: initrd.size,
            ..hvm_modlist_entry::default()
        };
        memory.write_slice(module.as_slice(), layout::PVH_MODULES)?;
    }
    memory.write_slice(info.as_slice(), layout::PVH_START_INFO)?;
    let mut address = layout::PVH_MEMORY_MAP;
    for range in &map {
        // PVH numbers RAM and reserved memory as e820 does.
        let kind = match range.kind {
            RangeKind::Ram => 1,
            RangeKind::Reserved => 2,
        };
        let entry = hvm_memmap_table_entry {
            addr: range.base,
            size: range.size,
            type_: kind,
            reserved: 0,
        };
        memory.write_slice(entry.as_slice(), address)?;
        address = address
            .checked_add(size_of_val(&entry) as u64)
            .unwrap_or(GuestAddress(0));
    }
    Ok(())
}

/// The low 32 bits of a value that is known to lie below 4 GiB.
fn low(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
