//! The DSDT: what only AML can say. Processors, the virtio-mmio devices (`LNRO0005`, as Linux' driver knows them),
//! pvpanic (`QEMU0001`), the serial port, the keyboard controller, the power button, the generation's identifier, and the sleep state
//! that powers off.

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
/// What the generation's device is notified of when its identifier is another.
const CHANGED: u8 = 0x80;

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
        let mut devices = self.devices.iter();
        let has_generation = devices.all(|slot| slot.gsi != layout::GENERATION_GSI);
        if has_generation {
            generation(&mut body);
        }
        events(has_generation, &mut body);
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

/// A button.
fn power_button(sink: &mut dyn AmlSink) {
    let hid = Name::new("_HID".into(), &EISAName::new("PNP0C0C"));
    in_system_bus(&Device::new("PWRB".into(), vec![&hid]), sink);
}

/// Where it says which machine this is of all that went on from one snapshot (Microsoft, "Virtual Machine Generation ID"). An operating
/// system that finds another one there has been copied, and gets itself new random numbers.
fn generation(sink: &mut dyn AmlSink) {
    let hid = Name::new("_HID".into(), &"HULLVGID");
    let cid = Name::new("_CID".into(), &"VM_Gen_Counter");
    let ddn = Name::new("_DDN".into(), &"VM_Gen_Counter");
    let (low, high) = (
        layout::GENERATION.0 & 0xffff_ffff,
        layout::GENERATION.0 >> 32,
    );
    let place = Package::new(vec![&low, &high]);
    let place = Name::new("ADDR".into(), &place);
    in_system_bus(
        &Device::new("VGEN".into(), vec![&hid, &cid, &ddn, &place]),
        sink,
    );
}

/// The event device, which says what happened by the line that is raised: a machine of reduced hardware has no registers for it (ACPI
/// 6.5, sections 4.8.3.1 and 5.6.9).
fn events(has_generation: bool, sink: &mut dyn AmlSink) {
    let hid = Name::new("_HID".into(), &"ACPI0013");
    // A consumer's lines, edge-triggered, active high, not shared.
    let button = Interrupt::new(true, true, false, false, layout::POWER_BUTTON_GSI);
    let generation = Interrupt::new(true, true, false, false, layout::GENERATION_GSI);
    let mut lines: Vec<&dyn Aml> = vec![&button];
    lines.extend(has_generation.then_some(&generation as &dyn Aml));
    let resources = ResourceTemplate::new(lines);
    let resources = Name::new("_CRS".into(), &resources);
    // Named for the edges of the lines, with their numbers.
    let method = |gsi| format!("_E{gsi:02X}");
    let (button, generation): (Path, Path) = ("\\_SB_.PWRB".into(), "\\_SB_.VGEN".into());
    let pressed = Notify::new(&button, &PRESSED);
    let name = method(layout::POWER_BUTTON_GSI);
    let pressed = Method::new(Path::new(&name), 0, false, vec![&pressed]);
    let changed = Notify::new(&generation, &CHANGED);
    let name = method(layout::GENERATION_GSI);
    let changed = Method::new(Path::new(&name), 0, false, vec![&changed]);
    let mut contents: Vec<&dyn Aml> = vec![&hid, &resources, &pressed];
    contents.extend(has_generation.then_some(&changed as &dyn Aml));
    in_system_bus(&Device::new("GED_".into(), contents), sink);
}
