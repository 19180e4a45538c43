//! A guest goes on in another process where it was.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use hull_vm_api::Stage;
use hull_vm_api::config::HostPath;
use hull_vm_api::request::{SnapshotCreate, SnapshotLoad, SnapshotType};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Configured, Vm, fifo, no_kvm};
use crate::{Clone, host, refusal, snapshot};

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

/// A file that processes which are started from now on inherit, and what tells them of it.
fn handed_over(vm: &Vm, name: &str) -> (fs::File, String) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(vm.path(name))
        .unwrap();
    fcntl_setfd(&file, FdFlags::empty()).unwrap();
    let argument = format!("--fd={name}={}", file.as_raw_fd());
    (file, argument)
}

#[test]
fn both_files_can_be_descriptors() {
    if no_kvm() {
        return;
    }
    let (vm, _keys) = with_keys(&remembering());
    let (state, with_state) = handed_over(&vm, "state");
    let (memory, with_memory) = handed_over(&vm, "memory");
    let vm = vm.arg(&with_state).arg(&with_memory);
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    let create = SnapshotCreate {
        snapshot_type: SnapshotType::Full,
        snapshot_path: HostPath::fd("state"),
        mem_file_path: HostPath::fd("memory"),
        resume_vm: false,
    };
    client.create_snapshot(&create).unwrap();
    client.create_snapshot(&create).unwrap();
    drop(running);
    // Wherever others are in them.
    for mut file in [&state, &memory] {
        file.seek(SeekFrom::Start(1000)).unwrap();
    }
    let mut load = SnapshotLoad::new(create.snapshot_path.clone(), create.mem_file_path.clone());
    load.resume_vm = true;
    let mut clone = Clone::new(Vm::empty().arg(&with_state).arg(&with_memory), true);
    clone.client.load_snapshot(&load).unwrap();
    clone.client.pause().unwrap();
    // What its own memory comes from is not written to.
    let refused = refusal(clone.client.create_snapshot(&create));
    assert!(refused.contains("memory comes from"), "{refused}");
    clone.client.resume().unwrap();
    clone.press("xx");
    clone.power_off();
}

#[test]
fn memory_that_was_expected_is_the_machines_and_any_other_size_works_as_well() {
    if no_kvm() {
        return;
    }
    let (vm, mut keys) = with_keys(&remembering());
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    let pair = snapshot(&client, &vm, "one");
    drop(running);
    // The machine has 64 MiB. One of 5 GiB would have memory on both sides of the hole.
    for expected in ["64", "32", "128", "5120", "0", "18446744073709551615"] {
        let vm = Vm::empty().arg("--expect-mem").arg(expected);
        let mut clone = Clone::new(vm, true);
        // What was made goes with a load that fails, and the next one works all the same.
        let mut wrong = pair.load();
        wrong.mem_backend.backend_path = host(&pair.state);
        let refused = refusal(clone.client.load_snapshot(&wrong));
        assert!(refused.contains("no memory of a snapshot"), "{refused}");
        clone.client.load_snapshot(&pair.load()).unwrap();
        clone.press("x");
        clone.running.await_output("there\n");
        clone.client.pause().unwrap();
        let again = snapshot(&clone.client, &clone.vm, "again");
        let mut second = Clone::new(Vm::empty().arg("--expect-mem").arg("64"), true);
        second.client.load_snapshot(&again.load()).unwrap();
        second.press("x");
        second.running.await_output("still there\n");
        second.power_off();
    }
    // A machine that boots has memory of its own.
    let vm = vm.arg("--expect-mem").arg("64");
    let (mut running, _) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    keys.write_all(b"xx").unwrap();
    running.await_output("still there\n");
}
