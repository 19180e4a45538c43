//! The MP table: processors, the I/O APIC and the interrupt lines (Intel MultiProcessor Specification 1.4,
//! section 4). A kernel without ACPI learns the machine from it.

use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryError};

use crate::layout;
use crate::topology::Topology;

const SPEC_1_4: u8 = 4;
/// The version of the local and I/O APICs that KVM models.
const APIC_VERSION: u8 = 0x14;
const PROCESSOR: u8 = 0;
const BUS: u8 = 1;
const IO_APIC: u8 = 2;
const IO_INTERRUPT: u8 = 3;
const LOCAL_INTERRUPT: u8 = 4;
const CPU_ENABLED: u8 = 1;
const CPU_BOOT: u8 = 2;
/// Interrupt types: vectored, NMI, and from an 8259.
const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;
const ISA: u8 = 0;
const ALL_APICS: u8 = 0xff;

/// Writes the floating pointer and the configuration table.
///
/// # Errors
/// When guest memory is smaller than [`layout::MIN_MEMORY`].
pub fn write<M: GuestMemoryBackend>(
    memory: &M,
    topology: Topology,
) -> Result<(), GuestMemoryError> {
    memory.write_slice(&floating_pointer(), layout::MP_FLOATING_POINTER)?;
    memory.write_slice(&configuration_table(topology), layout::MP_TABLE)
}

fn floating_pointer() -> [u8; 16] {
    let mut pointer = [0; 16];
    pointer[..4].copy_from_slice(b"_MP_");
    pointer[4..8].copy_from_slice(&low(layout::MP_TABLE.0).to_le_bytes());
    pointer[8] = 1; // length, in units of 16 bytes
    pointer[9] = SPEC_1_4;
    pointer[10] = checksum(&pointer);
    pointer
}

fn configuration_table(topology: Topology) -> Vec<u8> {
    let mut entries: Vec<u8> = Vec::new();
    let mut count: u16 = 0;
    let mut add = |entry: &[u8]| {
        entries.extend_from_slice(entry);
        count += 1;
    };
    for index in 0..topology.vcpus() {
        let flags = CPU_ENABLED | if index == 0 { CPU_BOOT } else { 0 };
        let mut entry = [0; 20];
        entry[..4].copy_from_slice(&[PROCESSOR, topology.apic_id(index), APIC_VERSION, flags]);
        entry[4..8].copy_from_slice(&0x600_u32.to_le_bytes()); // CPU signature: family 6
        entry[8..12].copy_from_slice(&0x201_u32.to_le_bytes()); // features: FPU and APIC
        add(&entry);
    }
    add(&[BUS, ISA, b'I', b'S', b'A', b' ', b' ', b' ']);
    let mut ioapic = [IO_APIC, topology.ioapic_id(), APIC_VERSION, 1, 0, 0, 0, 0];
    ioapic[4..].copy_from_slice(&low(layout::IOAPIC.0).to_le_bytes());
    add(&ioapic);
    // Flags 0: polarity and trigger of the bus, which for ISA is high and edge, as irqfd raises them.
    for line in 0..=u8::try_from(layout::LAST_GSI).unwrap_or(u8::MAX) {
        add(&[
            IO_INTERRUPT,
            INT,
            0,
            0,
            ISA,
            line,
            topology.ioapic_id(),
            line,
        ]);
    }
    add(&[LOCAL_INTERRUPT, EXT_INT, 0, 0, ISA, 0, 0, 0]);
    add(&[LOCAL_INTERRUPT, NMI, 0, 0, ISA, 0, ALL_APICS, 1]);

    let mut table = vec![0; 44];
    table[..4].copy_from_slice(b"PCMP");
    table[6] = SPEC_1_4;
    table[8..16].copy_from_slice(b"HULL    ");
    table[16..28].copy_from_slice(b"MICROVM     ");
    table[34..36].copy_from_slice(&count.to_le_bytes());
    table[36..40].copy_from_slice(&low(layout::LOCAL_APIC.0).to_le_bytes());
    table.extend(entries);
    let length = u16::try_from(table.len()).unwrap_or(u16::MAX);
    table[4..6].copy_from_slice(&length.to_le_bytes());
    table[7] = checksum(&table);
    table
}

/// What makes the sum of all bytes zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte))
        .wrapping_neg()
}

fn low(address: u64) -> u32 {
    u32::try_from(address).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_add_up_to_zero_and_list_every_processor_once() {
        for vcpus in [1, 2, 32] {
            let topology = Topology::new(vcpus, false);
            let table = configuration_table(topology);
            assert_eq!(checksum(&table), 0);
            assert_eq!(checksum(&floating_pointer()), 0);
            assert!(table.len() as u64 <= layout::TABLES_END - layout::MP_TABLE.0);
            let count = u16::from_le_bytes([table[34], table[35]]);

            let (mut at, mut seen, mut boot) = (44, 0, 0);
            let mut ids = Vec::new();
            while at < table.len() {
                if table[at] == PROCESSOR {
                    ids.push(table[at + 1]);
                    boot += usize::from(table[at + 3] & CPU_BOOT != 0);
                }
                at += if table[at] == PROCESSOR { 20 } else { 8 };
                seen += 1;
            }
            assert_eq!(seen, usize::from(count));
            assert_eq!(ids, (0..vcpus).collect::<Vec<_>>());
            assert_eq!(boot, 1);
            assert!(!ids.contains(&topology.ioapic_id()));
        }
    }
}
