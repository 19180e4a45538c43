//! The tables, read back as a kernel would.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::write;
use crate::layout::{self, virtio_slot};
use crate::topology::Topology;

fn table(memory: &GuestMemoryMmap, address: u64) -> Vec<u8> {
    let length: u32 = memory
        .read_obj(GuestAddress(address + 4))
        .expect("a length");
    let mut bytes = vec![0; length as usize];
    memory
        .read_slice(&mut bytes, GuestAddress(address))
        .expect("a table");
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    assert_eq!(
        sum,
        0,
        "checksum of {:?}",
        String::from_utf8_lossy(&bytes[..4])
    );
    bytes
}

fn double(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[test]
fn every_table_is_found_from_the_root_pointer_and_adds_up() {
    for (vcpus, devices, serial) in [(1, 1, true), (32, 19, false)] {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 2 << 20)]).expect("memory");
        let slots: Vec<_> = (0..devices).filter_map(virtio_slot).collect();
        let root = write(&memory, Topology::new(vcpus, false), &slots, serial).expect("tables");
        let mut pointer = [0; 36];
        memory
            .read_slice(&mut pointer, root)
            .expect("a root pointer");
        assert_eq!(&pointer[..8], b"RSD PTR ");
        assert_eq!(
            pointer
                .iter()
                .fold(0_u8, |sum, byte| sum.wrapping_add(*byte)),
            0
        );

        let xsdt = table(&memory, double(&pointer, 24));
        assert_eq!(&xsdt[..4], b"XSDT");
        let fadt = table(&memory, double(&xsdt, 36));
        assert_eq!(&fadt[..4], b"FACP");
        let madt = table(&memory, double(&xsdt, 44));
        assert_eq!(&madt[..4], b"APIC");
        assert_eq!(madt.len(), 44 + usize::from(vcpus) * 8 + 12);
        let dsdt_address = double(&fadt, 140);
        let dsdt = table(&memory, dsdt_address);
        assert_eq!(&dsdt[..4], b"DSDT");
        let devices_found = dsdt
            .windows(8)
            .filter(|window| window == b"LNRO0005")
            .count();
        assert_eq!(devices_found, slots.len());
        let found = |wanted: &[u8]| dsdt.windows(wanted.len()).any(|window| window == wanted);
        // Who has all devices has no line left for a new generation.
        let generation = devices < 19;
        assert!(found(b"ACPI0013"), "{dsdt:x?}");
        assert_eq!(found(b"VM_Gen_Counter"), generation, "{dsdt:x?}");
        // The event device's method for a line notifies the device that has it, by its name from the root.
        for (line, device, is_there) in [
            (layout::POWER_BUTTON_GSI, b"\\._SB_PWRB", true),
            (layout::GENERATION_GSI, b"\\._SB_VGEN", generation),
        ] {
            let name = format!("_E{line:02X}");
            let method = [name.as_bytes(), &[0, 0x86], device, &[0x0a, 0x80]].concat();
            assert_eq!(found(&method), is_there, "{name}: {dsdt:x?}");
        }
        // PNP0501, compressed as EISA did it.
        assert_eq!(found(&[0x0c, 0x41, 0xd0, 0x05, 0x01]), serial);
        let end = double(&pointer, 24) + (xsdt.len() as u64);
        assert!(end.max(dsdt_address + (dsdt.len() as u64)) < layout::GENERATION.0);
    }
}
