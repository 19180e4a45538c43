//! The power button's interrupt line, with guests of a few instructions that listen to it.

mod common;

use common::guest::{Code, WINDOW};
use common::{Configured, Vm, no_kvm};
use hull_vm_api::ExitCause;
use rustix::process::Signal;

/// Where the page directory's entry for the second window is.
const SECOND_WINDOW_ENTRY: u32 = 0xb000 + 8 * 257;
const IOAPIC: u32 = WINDOW;
const LOCAL_APIC: u32 = WINDOW + (2 << 20);

/// `mov dword [address], value`
fn store(code: Code, address: u32, value: u32) -> Code {
    code.bytes(&[0xc7, 0x04, 0x25])
        .bytes(&address.to_le_bytes())
        .bytes(&value.to_le_bytes())
}

/// Lets pin 3 of the I/O APIC through as vector 0x33, waits until that is pending in the local APIC, and powers off; but not if
/// anybody used the keyboard.
fn listener() -> Vec<u8> {
    let code = Code::new()
        .window(0xfec0_0000)
        .store(SECOND_WINDOW_ENTRY, 0xfee0_0093);
    let code = store(code, LOCAL_APIC + 0xf0, 0x1ff);
    let code = store(code, IOAPIC, 0x10 + 2 * 3);
    let code = store(code, IOAPIC + 0x10, 0x33);
    code.print("ready\n")
        .bytes(&[0x8b, 0x04, 0x25]) // again: mov eax, [pending vectors 0x20 to 0x3f]
        .bytes(&(LOCAL_APIC + 0x210).to_le_bytes())
        .bytes(&[0xa9, 0, 0, 0x08, 0, 0x74, 0xf2]) // test eax, 1 << 0x13; jz again
        .bytes(&[0xe4, 0x64, 0xa8, 0x01, 0x75, 0xfe]) // in al, 0x64; test al, 1; jnz to itself
        .power_off()
}

#[test]
fn a_guest_that_listens_has_its_button_pressed_and_no_keys() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&listener()).serial();
    let mut running = vm.start();
    running.await_output("ready\n");
    running.signal(Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    vm.assert_clean();
}

#[test]
fn a_guest_that_is_paused_hears_of_it_when_it_goes_on() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&listener()).serial();
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    running.signal(Signal::TERM);
    running.await_log("it is paused, and is asked when it is resumed");
    client.resume().unwrap();
    assert_eq!(running.end().cause(), ExitCause::PowerOff);
}
