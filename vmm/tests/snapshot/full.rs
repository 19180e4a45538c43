//! A guest goes on in another process where it was.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use hull_vm_api::Stage;
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Configured, Vm, fifo, no_kvm};
use crate::{Clone, snapshot};

/// Waits for a key, and looks whether memory has what was written before it.
fn remembering() -> Vec<u8> {
    const PLACE: u32 = 0x30_0000;
    Code::new()
        .store(PLACE, 0x1122_3344_5566_7788)
        .print("ready\n")
        .await_key()
        .bytes(&[0x48, 0xb8])
        .bytes(&0x1122_3344_5566_7788_u64.to_le_bytes())
        .bytes(&[0x48, 0x39, 0x04, 0x25])
        .bytes(&PLACE.to_le_bytes()) // cmp [PLACE], rax
        .bytes(&[0x75, 0xfe]) // jne $
        .print("there\n")
        .await_key()
        .print("still there\n")
        .power_off()
}

fn with_keys(code: &[u8]) -> (Vm, fs::File) {
    let vm = Vm::of(code);
    let keys = fifo(&vm, "keys");
    let path = vm.path("keys");
    let vm = vm.serial().set("/serial/serial_in_path", json!(path));
    let vm = vm.set("/vsock", json!(null));
    (vm, keys)
}

#[test]
fn a_guest_goes_on_in_another_process() {
    if no_kvm() {
        return;
    }
    let (vm, mut keys) = with_keys(&remembering());
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    let pair = snapshot(&client, &vm, "one");
    // The memory is sparse, and as long as the guest's.
    let memory = fs::metadata(&pair.memory).unwrap();
    assert!(memory.len() > 64 << 20);
    assert!(
        memory.blocks() * 512 < 4 << 20,
        "{} blocks",
        memory.blocks()
    );

    let mut clone = Clone::load(&pair.load());
    assert_eq!(clone.client.instance().unwrap().state, Stage::Running);
    clone.press("x");
    clone.running.await_output("there\n");
    // And so does the one that it was taken of.
    client.resume().unwrap();
    keys.write_all(b"x").unwrap();
    running.await_output("there\n");
    clone.press("x");
    clone.running.await_output("still there\n");
    clone.power_off();
    keys.write_all(b"x").unwrap();
    running.await_output("still there\n");
}
