//! Processes that are killed while they save or restore: what is there afterwards is whole, or is not there.

use std::fs;
use std::time::Duration;

use hull_vm_api::request::SnapshotType;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Configured, Vm, no_kvm};
use crate::{Clone, Pair, snapshot};

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

#[test]
fn who_is_killed_while_it_saves_leaves_the_snapshot_before_or_a_whole_one() {
    if no_kvm() {
        return;
    }
    let vm = filling();
    let pair = Pair::of(&vm, "one");
    let mut seen = [0, 0];
    for round in 0..12_u64 {
        let (mut running, client) = vm.serve(Configured::ByFile);
        running.await_output("ready\n");
        client.pause().unwrap();
        let whom = match round % 2 {
            0 => running.pid(),
            _ => Pid::from_raw(running.machine().parse().unwrap()).unwrap(),
        };
        let create = pair.create(SnapshotType::Full);
        std::thread::scope(|scope| {
            let saved = scope.spawn(|| client.create_snapshot(&create));
            // No event tells how far it is; any moment will do.
            std::thread::sleep(Duration::from_millis(round * 3));
            let _ = kill_process(whom, Signal::KILL);
            let _ = saved.join();
        });
        let _ = running.wait();
        let names = fs::read_dir(vm.dir.path()).unwrap();
        let mut names: Vec<_> = names
            .map(|name| name.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("one."))
            .collect();
        names.sort();
        // Between the two names there is a moment in which the memory is there alone.
        let expected = [vec![], vec!["one.memory"], vec!["one.memory", "one.state"]];
        assert!(expected.iter().any(|some| names == *some), "{names:?}");
        if names.len() < 2 {
            seen[0] += 1;
            continue;
        }
        let mut clone = Clone::new(Vm::empty(), true);
        match clone.client.load_snapshot(&pair.load()) {
            Ok(()) => {
                seen[1] += 1;
                clone.press("x");
                clone.power_off();
            }
            Err(error) => assert!(error.to_string().contains("another snapshot"), "{error}"),
        }
        fs::remove_file(&pair.state).unwrap();
        fs::remove_file(&pair.memory).unwrap();
    }
    println!("{seen:?} of 12 were not there, and whole");
}

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
    for round in 0..12_u64 {
        let clone = Clone::new(Vm::empty(), true);
        let whom = match round % 2 {
            0 => clone.running.pid(),
            _ => Pid::from_raw(clone.running.machine().parse().unwrap()).unwrap(),
        };
        std::thread::scope(|scope| {
            let loaded = scope.spawn(|| clone.client.load_snapshot(&pair.load()));
            std::thread::sleep(Duration::from_micros(round * 1000));
            let _ = kill_process(whom, Signal::KILL);
            let _ = loaded.join();
        });
        assert_ne!(clone.running.end().status.code(), Some(0));
    }
    assert!(files() == before);
    let mut clone = Clone::load(&pair.load());
    clone.press("x");
    clone.power_off();
}
