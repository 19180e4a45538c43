//! Diffs: a chain of them is what a full snapshot is, whoever puts them together.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use hull_vm_api::Stage;
use hull_vm_api::request::SnapshotType;
use rustix::fs::{SeekFrom, seek};
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Configured, Running, Vm, fifo, no_kvm};
use crate::{Clone, Pair, refusal};

const MEMORY: usize = 64 << 20;

/// With each key it writes its count into some other page, and prints a dot.
fn writing(vcpus: u8) -> (Vm, File) {
    let turn = Code::new()
        .await_key()
        .bytes(&[0x48, 0x8b, 0x04, 0x25, 0, 0, 0x30, 0]) // mov rax, [0x300000]
        .bytes(&[0x48, 0xff, 0xc0]) // inc rax
        .bytes(&[0x48, 0x89, 0x04, 0x25, 0, 0, 0x30, 0]) // mov [0x300000], rax
        .bytes(&[0x48, 0x69, 0xd8, 0, 0x70, 0, 0]) // imul rbx, rax, 0x7000
        .bytes(&[0x48, 0x81, 0xe3, 0, 0xf0, 0xff, 0]) // and rbx, 0xfff000
        .bytes(&[0x48, 0x81, 0xc3, 0, 0, 0x40, 0]) // add rbx, 0x400000
        .bytes(&[0x48, 0x89, 0x03]) // mov [rbx], rax
        .print(".");
    let back = u8::try_from(turn.0.len() + 2).unwrap().wrapping_neg();
    let code = Code::new()
        .print("ready\n")
        .bytes(&turn.0)
        .bytes(&[0xeb, back])
        .0;
    let vm = Vm::of(&code).serial().set("/vsock", json!(null));
    let keys = fifo(&vm, "keys");
    let path = vm.path("keys");
    let vm = vm
        .set("/serial/serial_in_path", json!(path))
        .set("/machine-config/track_dirty_pages", json!(true))
        .set("/machine-config/vcpu_count", json!(vcpus));
    (vm, keys)
}

fn write_some(running: &mut Running, keys: &mut File, count: usize) {
    for _ in 0..count {
        keys.write_all(b"x").unwrap();
        running.await_output(".");
    }
}

/// Puts a diff onto the file of the snapshot before it, as any program can.
fn put_on(diff: &Path, base: &Path) {
    let from = File::open(diff).unwrap();
    let to = File::options().write(true).open(base).unwrap();
    let mut at = 0;
    while let Ok(start) = seek(&from, SeekFrom::Data(at)) {
        at = seek(&from, SeekFrom::Hole(start)).unwrap();
        let mut data = vec![0; usize::try_from(at - start).unwrap()];
        from.read_exact_at(&mut data, start).unwrap();
        to.write_all_at(&data, start).unwrap();
    }
}

pub(crate) fn guest_memory(pair: &Pair) -> Vec<u8> {
    let mut bytes = fs::read(&pair.memory).unwrap();
    bytes.truncate(MEMORY);
    bytes
}

#[test]
fn a_chain_of_diffs_is_what_a_full_snapshot_is() {
    if no_kvm() {
        return;
    }
    for vcpus in [1, 2] {
        let (vm, mut keys) = writing(vcpus);
        let (mut running, client) = vm.serve(Configured::ByFile);
        running.await_output("ready\n");
        let take = |name: &str, kind| {
            let pair = Pair::of(&vm, name);
            client.pause().unwrap();
            client.create_snapshot(&pair.create(kind)).unwrap();
            client.resume().unwrap();
            pair
        };
        // The first is whole, whatever it is called.
        let base = take("base", SnapshotType::Diff);
        let mut last = base.clone();
        for (round, writes) in [3, 0, 7, 1, 20].into_iter().enumerate() {
            write_some(&mut running, &mut keys, writes);
            let diff = take(&format!("diff{round}"), SnapshotType::Diff);
            let alone = Clone::new(Vm::empty(), true);
            let refused = refusal(alone.client.load_snapshot(&diff.load()));
            assert!(
                refused.contains("a diff has only what was written"),
                "{refused}"
            );
            let size = |pair: &Pair| fs::metadata(&pair.memory).unwrap().len();
            assert_eq!(size(&diff), size(&base));
            put_on(&diff.memory, &base.memory);
            last = Pair {
                memory: base.memory.clone(),
                ..diff
            };
        }
        let full = take("full", SnapshotType::Full);
        assert!(guest_memory(&last) == guest_memory(&full));
        drop(running);

        // What was restored goes on with the chain, if it is to.
        let mut load = last.load();
        load.track_dirty_pages = true;
        let mut clone = Clone::load(&load);
        write_some(&mut clone.running, &mut clone.keys, 2);
        clone.client.pause().unwrap();
        let next = Pair::of(&clone.vm, "next");
        clone
            .client
            .create_snapshot(&next.create(SnapshotType::Diff))
            .unwrap();
        // Onto the name of what it is of, it is put together with that.
        let whole = Pair {
            memory: last.memory.clone(),
            state: clone.vm.path("whole.state"),
        };
        put_on(&next.memory, &whole.memory);
        clone.client.resume().unwrap();
        write_some(&mut clone.running, &mut clone.keys, 2);
        clone.client.pause().unwrap();
        clone
            .client
            .create_snapshot(&whole.create(SnapshotType::Diff))
            .unwrap();
        let full = Pair::of(&clone.vm, "full");
        clone
            .client
            .create_snapshot(&full.create(SnapshotType::Full))
            .unwrap();
        assert!(guest_memory(&whole) == guest_memory(&full));
        let mut second = Clone::load(&whole.load());
        write_some(&mut second.running, &mut second.keys, 1);
        second.client.pause().unwrap();
        let untracked = Pair::of(&second.vm, "no");
        let refused = refusal(
            second
                .client
                .create_snapshot(&untracked.create(SnapshotType::Diff)),
        );
        assert!(refused.contains("track_dirty_pages"), "{refused}");
    }
}

#[test]
fn diffs_of_a_guest_that_writes_all_the_time_are_what_a_full_snapshot_is() {
    if no_kvm() {
        return;
    }
    let writes = [
        0x48, 0x8b, 0x04, 0x25, 0, 0, 0x30, 0, // again: mov rax, [0x300000]
        0x48, 0x69, 0xc0, 0x0d, 0x66, 0x19, 0, // imul rax, rax, 0x19660d
        0x48, 0x05, 0x5f, 0xf3, 0x6e, 0x3c, // add rax, 0x3c6ef35f
        0x48, 0x89, 0x04, 0x25, 0, 0, 0x30, 0, // mov [0x300000], rax
        0x48, 0x89, 0xc3, // mov rbx, rax
        0x48, 0x81, 0xe3, 0, 0xf0, 0xff, 0, // and rbx, 0xfff000
        0x48, 0x81, 0xc3, 0, 0, 0x40, 0, // add rbx, 0x400000
        0x48, 0x89, 0x03, // mov [rbx], rax
        0xeb, 0xcd, // jmp again
    ];
    let code = Code::new().print("ready\n").bytes(&writes).0;
    let vm = Vm::of(&code).serial().set("/vsock", json!(null));
    let vm = vm.set("/machine-config/track_dirty_pages", json!(true));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let chain = Pair::of(&vm, "chain");
    let full = Pair::of(&vm, "full");
    for round in 0..100_u64 {
        // Any moment will do.
        std::thread::sleep(Duration::from_micros(
            RandomState::new().hash_one(round) % 20_000,
        ));
        client.pause().unwrap();
        // Each is put together with the one before it, whose name it takes.
        client
            .create_snapshot(&chain.create(SnapshotType::Diff))
            .unwrap();
        if round % 10 == 9 {
            client
                .create_snapshot(&full.create(SnapshotType::Full))
                .unwrap();
            assert!(guest_memory(&chain) == guest_memory(&full), "{round}");
            // The chain goes on from there.
            fs::copy(&full.memory, &chain.memory).unwrap();
            let clone = Clone::load(&full.load());
            assert_eq!(clone.client.instance().unwrap().state, Stage::Running);
        }
        client.resume().unwrap();
    }
}
