//! ACPI tables (ACPI 6.5, section 5): root pointer, XSDT, FADT of a hardware-reduced machine, MADT, DSDT.
//!
//! They are for kernels that have no other way to find the machine; Hull's own kernel boots from the MP table,
//! since interpreting AML costs boot time.

mod dsdt;

use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};

use crate::layout::{self, Gpa, VirtioSlot};
use crate::topology::Topology;

pub(crate) const OEM: [u8; 6] = *b"HULL  ";
pub(crate) const OEM_TABLE: [u8; 8] = *b"MICROVM ";
pub(crate) const OEM_REVISION: u32 = 1;
/// Room for the root pointer at the start of the tables.
const ROOT_POINTER_SIZE: u64 = 64;
/// `IAPC_BOOT_ARCH`: an 8042 is there, a VGA and a CMOS clock are not, and MSI works (table 5.11).
const BOOT_ARCH: u16 = 1 << 1 | 1 << 2 | 1 << 5;

/// Writes all tables and returns where the root pointer is.
///
/// # Errors
/// When guest memory is smaller than [`layout::MIN_MEMORY`].
pub fn write<M: GuestMemoryBackend>(
    memory: &M,
    topology: Topology,
    devices: &[VirtioSlot],
    serial: bool,
) -> Result<Gpa, GuestMemoryError> {
    let mut next = GuestAddress(layout::ACPI_TABLES.0 + ROOT_POINTER_SIZE);
    let mut place = |table: &dyn Aml| {
        let mut bytes = Bytecode(Vec::new());
        table.to_aml_bytes(&mut bytes);
        let address = next;
        memory.write_slice(&bytes.0, address)?;
        next = GuestAddress((address.0 + bytes.0.len() as u64).next_multiple_of(16));
        Ok::<u64, GuestMemoryError>(address.0)
    };
    let dsdt = place(&dsdt::Dsdt {
        topology,
        devices,
        serial,
    })?;
    let fadt = place(&fadt(dsdt))?;
    let madt = place(&madt(topology))?;
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = place(&xsdt)?;
    let mut root = Bytecode(Vec::new());
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut root);
    memory.write_slice(&root.0, layout::ACPI_TABLES)?;
    Ok(layout::ACPI_TABLES)
}

fn fadt(dsdt: u64) -> impl Aml {
    let port = |address: u16| {
        GAS::new(
            AddressSpace::SystemIo,
            8,
            0,
            AccessSize::ByteAccess,
            u64::from(address),
        )
    };
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton);
    fadt.iapc_boot_arch = BOOT_ARCH.into();
    fadt.reset_reg = port(layout::RESET_PORT);
    fadt.reset_value = layout::RESET_VALUE;
    fadt.sleep_control_reg = port(layout::ACPI_SLEEP_PORT);
    fadt.sleep_status_reg = port(layout::ACPI_SLEEP_PORT + 1);
    fadt.finalize()
}

fn madt(topology: Topology) -> MADT {
    let low = |address: Gpa| u32::try_from(address.0).unwrap_or(u32::MAX);
    let controller = LocalInterruptController::Address(low(layout::LOCAL_APIC));
    let mut madt = MADT::new(OEM, OEM_TABLE, OEM_REVISION, controller);
    for index in 0..topology.vcpus() {
        madt.add_structure(ProcessorLocalApic::new(
            index,
            topology.apic_id(index),
            EnabledStatus::Enabled,
        ));
    }
    madt.add_structure(IoApic::new(topology.ioapic_id(), low(layout::IOAPIC), 0));
    madt
}

#[derive(Debug)]
struct Bytecode(Vec<u8>);

impl AmlSink for Bytecode {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn vec(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests;
