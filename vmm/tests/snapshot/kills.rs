//! Processes that are killed at random moments while they save or restore: what is there afterwards is whole, or is not there.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use hull_vm_api::Client;
use hull_vm_api::request::{SnapshotLoad, SnapshotType};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Configured, Running, Vm, no_kvm};
use crate::{Clone, Pair, host, snapshot};

/// Kills of those who save, and of those who load.
const ROUNDS: u32 = 100;

/// Fills 16 MiB, so that there is something to write.
pub(crate) fn fill() -> Code {
    // mov rdi, 0x400000; mov rcx, 0x200000; mov rax, rdi; rep stosq
    Code::new()
        .bytes(&[0x48, 0xc7, 0xc7, 0, 0, 0x40, 0])
        .bytes(&[0x48, 0xc7, 0xc1, 0, 0, 0x20, 0])
        .bytes(&[0x48, 0x89, 0xf8, 0xf3, 0x48, 0xab])
}

/// The same, and waits for a key.
pub(crate) fn filling() -> Vm {
    let code = fill().print("ready\n").await_key().power_off();
    Vm::of(&code).serial().set("/vsock", json!(null))
}

/// Kills the keeper or the machine's process, by turns, at a random moment of what is done in `length`. Some come too late.
fn kill_within(running: &Running, round: u32, length: Duration, act: impl FnOnce() + Send) {
    let whom = match round % 2 {
        0 => running.pid(),
        _ => Pid::from_raw(running.machine().parse().unwrap()).unwrap(),
    };
    let moment = RandomState::new().hash_one(round) % 1000;
    std::thread::scope(|scope| {
        let acts = scope.spawn(act);
        // No event tells how far it is; any moment will do.
        std::thread::sleep(length.mul_f64(f64::from(u32::try_from(moment).unwrap()) / 800.0));
        let _ = kill_process(whom, Signal::KILL);
        let _ = acts.join();
    });
}

/// What has a snapshot of a guest that was just killed on the way: how many were not there, and how many whole.
fn look_at(vm: &Vm, pair: &Pair, seen: &mut [u32; 2]) {
    let names = fs::read_dir(vm.dir.path()).unwrap();
    let mut names: Vec<_> = names
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("one."))
        .collect();
    names.sort();
    // Until the memory has its name, the state has one beside its own, also where there was a snapshot before.
    let expected = [
        vec![],
        vec!["one.state.pending"],
        vec!["one.memory", "one.state.pending"],
        vec!["one.memory", "one.state"],
        vec!["one.memory", "one.state", "one.state.pending"],
    ];
    assert!(expected.iter().any(|some| names == *some), "{names:?}");
    if names.len() < 2 {
        seen[0] += 1;
        return;
    }
    let mut clone = Clone::new(Vm::empty(), true);
    clone.client.load_snapshot(&pair.load()).unwrap();
    seen[1] += 1;
    clone.press("x");
    clone.power_off();
}

/// Some of the machines are paused and some run. Each overwrites what the one before it may have left, or not.
#[test]
fn who_is_killed_while_it_saves_leaves_the_snapshot_before_or_a_whole_one() {
    if no_kvm() {
        return;
    }
    let vm = filling();
    let pair = Pair::of(&vm, "one");
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let boot = Pair::of(&vm, "boot");
    let began = Instant::now();
    client
        .create_snapshot(&boot.create(SnapshotType::Full))
        .unwrap();
    let length = began.elapsed();
    drop(running);
    let mut seen = [0, 0];
    for round in 0..ROUNDS {
        let clone = Clone::load(&boot.load());
        if round % 4 < 2 {
            clone.client.pause().unwrap();
        }
        let client: &Client = &clone.client;
        let create = pair.create(SnapshotType::Full);
        kill_within(&clone.running, round, length, || {
            let _ = client.create_snapshot(&create);
        });
        let _ = clone.running.wait();
        look_at(&vm, &pair, &mut seen);
        if round % 3 == 0 {
            for path in [&pair.state, &pair.memory, &vm.path("one.state.pending")] {
                let _ = fs::remove_file(path);
            }
        }
    }
    println!("{seen:?} of {ROUNDS} were not there, and whole");
}

/// Some of the machines record their working sets, or bring them in.
#[test]
fn who_is_killed_while_it_loads_leaves_the_snapshot_as_it_was() {
    if no_kvm() {
        return;
    }
    let vm = filling();
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    let pair = snapshot(&client, &vm, "one");
    drop(running);
    let files = || [&pair.state, &pair.memory].map(|path| fs::read(path).unwrap());
    let before = files();
    let set = vm.path("set");
    let mut with_set = pair.load();
    with_set.mem_backend.working_set = fs::exists("/dev/userfaultfd").unwrap().then(|| host(&set));
    let finish = |load: &SnapshotLoad| {
        let mut clone = Clone::load(load);
        clone.press("x");
        clone.power_off();
    };
    let began = Instant::now();
    finish(&pair.load());
    let length = began.elapsed();
    for round in 0..ROUNDS {
        let clone = Clone::new(Vm::empty(), true);
        let load = match round % 4 {
            0 | 1 => &pair.load(),
            _ => &with_set,
        };
        kill_within(&clone.running, round, length, || {
            // What is recorded has its name when the guest is paused.
            let loaded = clone.client.load_snapshot(load);
            let _ = loaded.and_then(|()| clone.client.pause());
        });
        let ended = clone.running.end();
        assert_ne!(ended.status.code(), Some(0));
        if round % 4 > 1 {
            // It is whole, or not there; and a recording takes the place of one that is not.
            finish(&with_set);
            assert_eq!(set.exists(), with_set.mem_backend.working_set.is_some());
            let _ = fs::remove_file(&set);
        }
    }
    assert!(files() == before);
    finish(&pair.load());
}
