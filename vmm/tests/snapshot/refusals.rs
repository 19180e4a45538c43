//! What is refused, and why; afterwards the same process can load a right one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use hull_vm_api::request::{MemoryBackendType, SnapshotType};
use hull_vm_api::{ExitCause, Stage};
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Configured, Running, Vm, no_kvm};
use crate::kills::filling;
use crate::{Clone, Pair, host, refusal, snapshot};

fn waiting() -> Vm {
    let code = Code::new().print("ready\n").await_key().power_off();
    Vm::of(&code).serial().set("/vsock", json!(null))
}

/// Two snapshots of a guest that waits for a key, in a directory of their own.
fn snapshots(vm: &Vm) -> [Pair; 2] {
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    [snapshot(&client, vm, "one"), snapshot(&client, vm, "two")]
}

fn altered(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

#[test]
fn what_is_no_whole_snapshot_is_refused_and_nothing_runs() {
    if no_kvm() {
        return;
    }
    let vm = waiting();
    let [one, two] = snapshots(&vm);
    let clone = Clone::new(Vm::empty(), true);
    let state = fs::read(&one.state).unwrap();
    let refused = |pair: &Pair, wanted: &str| {
        let sentence = refusal(clone.client.load_snapshot(&pair.load()));
        let is_clear = sentence.contains(wanted) && sentence.contains("Load snapshot error");
        assert!(is_clear, "{sentence}, not {wanted}");
        assert_eq!(clone.client.instance().unwrap().state, Stage::NotStarted);
    };
    let copy = |bytes: &[u8]| {
        let pair = Pair {
            state: vm.path("copy.state"),
            ..one.clone()
        };
        fs::write(&pair.state, bytes).unwrap();
        pair
    };
    refused(&copy(&state[..state.len() - 1]), "cut off");
    refused(&copy(&state[..30]), "cut off");
    refused(&copy(b""), "no snapshot of Hull's");
    refused(&copy(&[state.clone(), vec![0]].concat()), "behind its end");
    let body = copy(&state);
    altered(&body.state, 2000);
    refused(&body, "checksum is wrong");
    let header = copy(&state);
    altered(&header.state, 8);
    refused(&header, "header was altered");
    let mixed = |state: &Pair, memory: &Path| Pair {
        memory: memory.to_owned(),
        ..state.clone()
    };
    refused(&mixed(&one, &two.memory), "belongs to another snapshot");
    refused(&mixed(&one, &one.state), "no memory of a snapshot");
    refused(&mixed(&one, &vm.path("missing")), "No such file");
    refused(&mixed(&one, vm.dir.path()), "is a directory");
    let cut = vm.path("cut");
    fs::copy(&two.memory, &cut).unwrap();
    let file = File::options().write(true).open(&cut).unwrap();
    file.set_len(64 << 20).unwrap();
    refused(&mixed(&two, &cut), "cut off");

    let mut other = one.load();
    other.mem_backend.backend_type = MemoryBackendType::Uffd;
    let sentence = refusal(clone.client.load_snapshot(&other));
    assert!(sentence.contains("one.memory"), "{sentence}");
    let mut time = one.load();
    time.clock_realtime = true;
    time.resume_vm = true;
    let mut clone = clone;
    clone.client.load_snapshot(&time).unwrap();
    clone.press("x");
    clone.power_off();
}

#[test]
fn a_disk_that_is_missing_or_another_is_named() {
    if no_kvm() {
        return;
    }
    let vm = waiting();
    let disk = vm.path("disk");
    fs::write(&disk, vec![0; 8192]).unwrap();
    let drive = json!({ "drive_id": "d", "path_on_host": disk, "is_root_device": false });
    let vm = vm.set("/drives", json!([drive]));
    let [one, _] = snapshots(&vm);
    let clone = Clone::new(Vm::empty(), true);
    let refused = |wanted: &str| {
        let sentence = refusal(clone.client.load_snapshot(&one.load()));
        assert!(sentence.contains(wanted), "{sentence}");
    };
    fs::rename(&disk, vm.path("elsewhere")).unwrap();
    refused("disk");
    fs::write(&disk, vec![0; 4096]).unwrap();
    refused("the saved disk has 16 sectors, but the files given for it have 8");
    fs::rename(vm.path("elsewhere"), &disk).unwrap();
    let mut clone = clone;
    clone.client.load_snapshot(&one.load()).unwrap();
    clone.press("x");
    clone.power_off();
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_nothing_and_the_machine_goes_on() {
    if no_kvm() {
        return;
    }
    let vm = waiting();
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let pair = Pair::of(&vm, "one");
    let create = pair.create(SnapshotType::Full);
    client.pause().unwrap();
    let mut wrong = create.clone();
    wrong.mem_file_path = host(&vm.path("missing/memory"));
    assert!(refusal(client.create_snapshot(&wrong)).contains("No such file"));
    wrong.mem_file_path = host(vm.dir.path());
    assert!(refusal(client.create_snapshot(&wrong)).contains("is a directory"));
    wrong.mem_file_path = "/dev/null".into();
    assert!(refusal(client.create_snapshot(&wrong)).contains("neither a file"));
    wrong.mem_file_path = wrong.snapshot_path.clone();
    assert!(refusal(client.create_snapshot(&wrong)).contains("two files"));
    wrong.mem_file_path = host(&vm.path("./one.state"));
    assert!(refusal(client.create_snapshot(&wrong)).contains("File exists"));
    let left = fs::read_dir(vm.dir.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    let partial = left
        .iter()
        .any(|name| name.to_string_lossy().contains("one"));
    assert!(!partial, "{left:?}");
    client.create_snapshot(&create).unwrap();
    client.resume().unwrap();
    client.pause().unwrap();
    // Once more, and onto the same names.
    client.create_snapshot(&create).unwrap();
    drop(running);
    let mut clone = Clone::load(&pair.load());
    clone.client.pause().unwrap();
    // Its memory comes from the file that this replaces.
    clone.client.create_snapshot(&create).unwrap();
    let mut second = Clone::load(&pair.load());
    for clone in [&mut clone, &mut second] {
        let _ = clone.client.resume();
        clone.press("x");
    }
    clone.power_off();
    second.power_off();
}

/// What is in the directory that only the machine's processes see.
pub(crate) fn in_small(running: &Running, vm: &Vm) -> usize {
    let small = vm.path("small");
    let seen = format!("/proc/{}/root{}", running.pid(), small.display());
    fs::read_dir(seen).unwrap().count()
}

#[test]
fn where_there_is_no_room_nothing_is_left() {
    if no_kvm() {
        return;
    }
    // For the memory, and for the state alone.
    for (size, in_it) in [(2 << 20, "memory"), (8 << 10, "state")] {
        let mut vm = filling();
        vm.small_disk = size;
        let (mut running, client) = vm.serve(Configured::ByFile);
        running.await_output("ready\n");
        client.pause().unwrap();
        let pair = Pair::of(&vm, "one");
        let create = pair.create(SnapshotType::Full);
        let mut wanted = create.clone();
        let small = host(&vm.path("small/file"));
        match in_it {
            "memory" => wanted.mem_file_path = small,
            _ => wanted.snapshot_path = small,
        }
        let sentence = refusal(client.create_snapshot(&wanted));
        let is_clear = sentence.contains("no room") || sentence.contains("No space left");
        assert!(is_clear, "{sentence}");
        assert_eq!(in_small(&running, &vm), 0);
        assert!(!pair.memory.exists() && !pair.state.exists());
        client.create_snapshot(&create).unwrap();
        let mut clone = Clone::load(&pair.load());
        clone.press("x");
        clone.power_off();
    }
}

#[test]
fn a_memory_file_that_is_made_shorter_ends_the_machine_with_a_sentence() {
    if no_kvm() {
        return;
    }
    let vm = waiting();
    let [one, _] = snapshots(&vm);
    let mut load = one.load();
    load.resume_vm = false;
    let mut clone = Clone::load(&load);
    assert_eq!(clone.client.instance().unwrap().state, Stage::Paused);
    let memory = File::options().write(true).open(&one.memory).unwrap();
    memory.set_len(0).unwrap();
    // The machine may end before it has answered.
    let _ = clone.client.resume();
    clone.press("x");
    let ended = clone.running.end();
    assert_eq!(ended.cause(), ExitCause::NoResource, "{ended:?}");
    assert!(
        ended.sentence().contains("the snapshot's memory"),
        "{ended:?}"
    );
}
