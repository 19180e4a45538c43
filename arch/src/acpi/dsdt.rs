//! The DSDT: what only AML can say. Processors, the virtio-mmio devices (`LNRO0005`, as Linux' driver knows them),
//! pvpanic (`QEMU0001`), the serial port, the keyboard controller, the power button, and the sleep state that powers off.

use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Method, Name, Notify, Package, Path,
    ResourceTemplate, Scope,
};
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};

use super::{OEM, OEM_REVISION, OEM_TABLE};
use crate::layout::{self, VirtioSlot};
use crate::topology::Topology;

/// Revision 2: integers have 64 bits.
const REVISION: u8 = 2;
const HEADER_SIZE: u32 = 36;
/// What a power button's device is notified of when it is pressed (ACPI 6.5, table 5.165).
const PRESSED: u8 = 0x80;

#[derive(Debug)]
pub(super) struct Dsdt<'a> {
    pub(super) topology: Topology,
    pub(super) devices: &'a [VirtioSlot],
    pub(super) serial: bool,
}

impl Aml for Dsdt<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let mut sdt = Sdt::new(
            *b"DSDT",
            HEADER_SIZE,
            REVISION,
            OEM,
            OEM_TABLE,
            OEM_REVISION,
        );
        let mut body = super::Bytecode(Vec::new());
        for index in 0..self.topology.vcpus() {
            processor(index, &mut body);
        }
        for (index, slot) in self.devices.iter().enumerate() {
            virtio(index, *slot, &mut body);
        }
        pvpanic(&mut body);
        if self.serial {
            serial_port(&mut body);
        }
        keyboard(&mut body);
        power_button(&mut body);
        let sleep_type = layout::ACPI_POWER_OFF >> 2 & 7;
        Name::new("_S5_".into(), &Package::new(vec![&sleep_type])).to_aml_bytes(&mut body);
        sdt.append_slice(&body.0);
        sink.vec(sdt.as_slice());
    }
}

fn in_system_bus(device: &Device<'_>, sink: &mut dyn AmlSink) {
    Scope::new("_SB_".into(), vec![device]).to_aml_bytes(sink);
}

fn processor(index: u8, sink: &mut dyn AmlSink) {
    let name = format!("C{index:03}");
    let hid = Name::new("_HID".into(), &"ACPI0007");
    let uid = Name::new("_UID".into(), &index);
    in_system_bus(&Device::new(Path::new(&name), vec![&hid, &uid]), sink);
}

fn virtio(index: usize, slot: VirtioSlot, sink: &mut dyn AmlSink) {
    let name = format!("V{index:03}");
    let hid = Name::new("_HID".into(), &"LNRO0005");
    let uid = Name::new("_UID".into(), &index);
    let coherent = Name::new("_CCA".into(), &1_u8);
    let base = u32::try_from(slot.base.0).unwrap_or(u32::MAX);
    let size = u32::try_from(layout::VIRTIO_MMIO_SIZE).unwrap_or(u32::MAX);
    let memory = Memory32Fixed::new(true, base, size);
    // A consumer's line, edge-triggered, active high, not shared.
    let interrupt = Interrupt::new(true, true, false, false, slot.gsi);
    let resources = ResourceTemplate::new(vec![&memory, &interrupt]);
    let resources = Name::new("_CRS".into(), &resources);
    in_system_bus(
        &Device::new(Path::new(&name), vec![&hid, &uid, &coherent, &resources]),
        sink,
    );
}

fn pvpanic(sink: &mut dyn AmlSink) {
    let hid = Name::new("_HID".into(), &"QEMU0001");
    let status = Name::new("_STA".into(), &0xf_u8);
    let port = IO::new(layout::PVPANIC_PORT, layout::PVPANIC_PORT, 1, 1);
    let resources = ResourceTemplate::new(vec![&port]);
    let resources = Name::new("_CRS".into(), &resources);
    in_system_bus(
        &Device::new("PEVT".into(), vec![&hid, &status, &resources]),
        sink,
    );
}

/// A 16550 at COM1. A machine of reduced hardware has no interrupt lines but those that are named here.
fn serial_port(sink: &mut dyn AmlSink) {
    let hid = Name::new("_HID".into(), &EISAName::new("PNP0501"));
    let uid = Name::new("_UID".into(), &0_u8);
    let ports = layout::COM1;
    let size = u8::try_from(ports.len()).unwrap_or(u8::MAX);
    let ports = IO::new(ports.start, ports.start, 1, size);
    let interrupt = Interrupt::new(true, true, false, false, layout::COM1_GSI);
    let resources = ResourceTemplate::new(vec![&ports, &interrupt]);
    let resources = Name::new("_CRS".into(), &resources);
    in_system_bus(
        &Device::new("COM1".into(), vec![&hid, &uid, &resources]),
        sink,
    );
}

/// The keyboard controller, by which the machine is reset and Ctrl-Alt-Del is pressed.
fn keyboard(sink: &mut dyn AmlSink) {
    let hid = Name::new("_HID".into(), &EISAName::new("PNP0303"));
    let data = IO::new(0x60, 0x60, 1, 1);
    let command = IO::new(layout::RESET_PORT, layout::RESET_PORT, 1, 1);
    let interrupt = Interrupt::new(true, true, false, false, 1);
    let resources = ResourceTemplate::new(vec![&data, &command, &interrupt]);
    let resources = Name::new("_CRS".into(), &resources);
    in_system_bus(&Device::new("PS2_".into(), vec![&hid, &resources]), sink);
}

/// A button, and the event device that says when it is pressed: a machine of reduced hardware has no registers for it (ACPI 6.5,
/// sections 4.8.3.1 and 5.6.9).
fn power_button(sink: &mut dyn AmlSink) {
    let hid = Name::new("_HID".into(), &EISAName::new("PNP0C0C"));
    in_system_bus(&Device::new("PWRB".into(), vec![&hid]), sink);
    let hid = Name::new("_HID".into(), &"ACPI0013");
    // A consumer's line, edge-triggered, active high, not shared.
    let line = Interrupt::new(true, true, false, false, layout::POWER_BUTTON_GSI);
    let resources = ResourceTemplate::new(vec![&line]);
    let resources = Name::new("_CRS".into(), &resources);
    let button: Path = "\\_SB_.PWRB".into();
    let pressed = Notify::new(&button, &PRESSED);
    // Named for the edge of the line, with its number.
    let name = format!("_E{:02X}", layout::POWER_BUTTON_GSI);
    let event = Method::new(Path::new(&name), 0, false, vec![&pressed]);
    in_system_bus(
        &Device::new("GED_".into(), vec![&hid, &resources, &event]),
        sink,
    );
}
