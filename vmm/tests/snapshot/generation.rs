//! A guest that listens to ACPI's event device is told that it went on in another machine.

use hull_vm_api::ExitCause;
use serde_json::json;

use crate::common::guest::{Code, WINDOW};
use crate::common::{Configured, Vm, no_kvm};
use crate::{Clone, Pair, snapshot};

/// Where the page directory's entry for the second window is.
const SECOND_WINDOW_ENTRY: u32 = 0xb000 + 8 * 257;
const IOAPIC: u32 = WINDOW;
const LOCAL_APIC: u32 = WINDOW + (2 << 20);
/// The generation's identifier, and the pin of its line.
const PLACE: u32 = 0xe_f000;
const PIN: u32 = 23;

/// `mov dword [address], value`
fn store(code: Code, address: u32, value: u32) -> Code {
    code.bytes(&[0xc7, 0x04, 0x25])
        .bytes(&address.to_le_bytes())
        .bytes(&value.to_le_bytes())
}

/// Keeps the identifier, lets the line through as vector 0x32, waits until that is pending in the local APIC, and powers off if the
/// identifier is another; else it stays where it is.
fn listener() -> Vec<u8> {
    let code = Code::new()
        .window(0xfec0_0000)
        .store(SECOND_WINDOW_ENTRY, 0xfee0_0093);
    let code = store(code, LOCAL_APIC + 0xf0, 0x1ff);
    let code = store(code, IOAPIC, 0x10 + 2 * PIN);
    let code = store(code, IOAPIC + 0x10, 0x32);
    code.print("ready\n")
        .bytes(&[0x4c, 0x8b, 0x24, 0x25]) // mov r12, [PLACE]
        .bytes(&PLACE.to_le_bytes())
        .bytes(&[0x8b, 0x04, 0x25]) // again: mov eax, [pending vectors 0x20 to 0x3f]
        .bytes(&(LOCAL_APIC + 0x210).to_le_bytes())
        .bytes(&[0xa9, 0, 0, 0x04, 0, 0x74, 0xf2]) // test eax, 1 << 0x12; jz again
        .bytes(&[0x4c, 0x3b, 0x24, 0x25]) // cmp r12, [PLACE]
        .bytes(&PLACE.to_le_bytes())
        .bytes(&[0x74, 0xfe]) // je $
        .print("another\n")
        .power_off()
}

#[test]
fn each_machine_that_goes_on_has_another_generation_and_hears_of_it() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&listener()).serial().set("/vsock", json!(null));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    let pair = snapshot(&client, &vm, "one");
    // Who goes on as it was hears nothing.
    client.resume().unwrap();
    for _ in 0..2 {
        let mut clone = Clone::load(&pair.load());
        clone.running.await_output("another\n");
        clone.power_off();
    }
    // One that stands still was not told yet: what goes on from it is.
    let clone = Clone::new(Vm::empty(), true);
    let mut load = pair.load();
    load.resume_vm = false;
    clone.client.load_snapshot(&load).unwrap();
    let second = Pair::of(&clone.vm, "two");
    let create = second.create(hull_vm_api::request::SnapshotType::Full);
    clone.client.create_snapshot(&create).unwrap();
    let mut last = Clone::load(&second.load());
    last.running.await_output("another\n");
    last.power_off();
    clone.client.resume().unwrap();
    clone.power_off();
    client.pause().unwrap();
    drop(running);
}

#[test]
fn a_guest_that_does_not_listen_is_left_alone() {
    if no_kvm() {
        return;
    }
    // Nothing is pending after a load.
    let code = Code::new().store(SECOND_WINDOW_ENTRY, 0xfee0_0093);
    let code = store(code.window(0xfec0_0000), LOCAL_APIC + 0xf0, 0x1ff);
    let code = code
        .print("ready\n")
        .await_key()
        .bytes(&[0x8b, 0x04, 0x25]) // mov eax, [pending vectors 0x20 to 0x3f]
        .bytes(&(LOCAL_APIC + 0x210).to_le_bytes())
        .bytes(&[0x85, 0xc0, 0x75, 0xfe]) // test eax, eax; jnz $
        .power_off();
    let vm = Vm::of(&code).serial().set("/vsock", json!(null));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    let pair = snapshot(&client, &vm, "one");
    let mut clone = Clone::load(&pair.load());
    clone.press("x");
    let ended = clone.running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
}
