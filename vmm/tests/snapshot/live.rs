//! Machines that run while they are saved.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use hull_vm_api::request::SnapshotType;
use hull_vm_api::{Client, ExitCause, Stage};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Configured, Running, Vm, fifo, no_kvm};
use crate::diff::guest_memory;
use crate::{Clone, Pair, host, refusal, snapshot};

/// Where the guest writes.
const FIRST: usize = 4 << 20;

/// Writes the number of the turn into each page, turn after turn, and echoes `k` for a key after each turn. A page that does not have the
/// number of the turn before ends it.
fn turning(pages: usize) -> Vec<u8> {
    let end = u32::try_from(FIRST + pages * 4096).unwrap();
    let torn = Code::new().power_off();
    let inner = Code::new()
        .bytes(&[0x48, 0x8b, 0x0f]) // inner: mov rcx, [rdi]
        .bytes(&[0x48, 0xff, 0xc1]) // inc rcx
        .bytes(&[0x48, 0x39, 0xd9]) // cmp rcx, rbx
        .bytes(&[0x74, u8::try_from(torn.len()).unwrap()]) // je fine
        .bytes(&torn)
        .bytes(&[0x48, 0x89, 0x1f]) // fine: mov [rdi], rbx
        .bytes(&[0x48, 0x81, 0xc7, 0, 0x10, 0, 0]) // add rdi, 0x1000
        .bytes(&[0x48, 0x81, 0xff])
        .bytes(&end.to_le_bytes()); // cmp rdi, end
    let back = |length: usize| u8::try_from(length + 2).unwrap().wrapping_neg();
    let echo = Code::new()
        .bytes(&[0x66, 0xba, 0xf8, 0x03, 0xec]) // mov dx, 0x3f8; in al, dx
        .print("k");
    let turn = Code::new()
        .bytes(&[0x48, 0xff, 0xc3]) // turn: inc rbx
        .bytes(&[0x48, 0xc7, 0xc7])
        .bytes(&u32::try_from(FIRST).unwrap().to_le_bytes()) // mov rdi, FIRST
        .bytes(&inner.0)
        .bytes(&[0x72, back(inner.0.len())]) // jb inner
        .bytes(&[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 1]) // mov dx, 0x3fd; in al, dx; test al, 1
        .bytes(&[0x74, u8::try_from(echo.0.len()).unwrap()]) // jz turn
        .bytes(&echo.0);
    let code = Code::new()
        .bytes(&[0x48, 0x31, 0xdb]) // xor rbx, rbx
        .print("ready\n");
    code.bytes(&turn.0)
        .bytes(&[0xeb, back(turn.0.len())]) // jmp turn
        .0
}

/// A machine with that guest, and its keys.
fn machine(pages: usize) -> (Vm, File) {
    let vm = Vm::of(&turning(pages)).serial().set("/vsock", json!(null));
    let keys = fifo(&vm, "keys");
    let path = vm.path("keys");
    let vm = vm.set("/serial/serial_in_path", json!(path));
    (vm, keys)
}

fn goes_on(running: &mut Running, keys: &mut File) {
    keys.write_all(b"x").unwrap();
    running.await_output("k");
}

/// The turn of each page, and that they are of one moment.
fn turns(memory: &Path, pages: usize) -> u64 {
    let file = File::open(memory).unwrap();
    let turns: Vec<_> = (0..pages)
        .map(|page| {
            let mut bytes = [0; 8];
            let at = FIRST + page * 4096;
            file.read_exact_at(&mut bytes, at as u64).unwrap();
            u64::from_le_bytes(bytes)
        })
        .collect();
    let (first, last) = (turns[0], turns[pages - 1]);
    assert!(first == last || first == last + 1, "{first} and {last}");
    let is_sorted = turns.is_sorted_by(|one, next| one >= next);
    assert!(is_sorted, "pages of different moments");
    last
}

#[test]
fn a_guest_that_writes_all_the_time_is_saved_as_it_was_at_one_moment() {
    if no_kvm() {
        return;
    }
    const PAGES: usize = 4096;
    let (vm, mut keys) = machine(PAGES);
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let mut before = 0;
    for round in 0..4 {
        let pair = snapshot(&client, &vm, &format!("of{round}"));
        assert_eq!(client.instance().unwrap().state, Stage::Running);
        goes_on(&mut running, &mut keys);
        let turn = turns(&pair.memory, PAGES);
        assert!(turn >= before, "{turn} after {before}");
        before = turn;
        // The clone's memory is its file, and so is the one of which it is saved in turn.
        let mut clone = Clone::load(&pair.load());
        goes_on(&mut clone.running, &mut clone.keys);
        let again = snapshot(&clone.client, &clone.vm, "again");
        goes_on(&mut clone.running, &mut clone.keys);
        assert!(turns(&again.memory, PAGES) >= turn);
        let mut second = Clone::load(&again.load());
        goes_on(&mut second.running, &mut second.keys);
    }
    assert!(stood_still(&client) > 0);
}

/// How long it did for the last snapshot, in microseconds.
fn stood_still(client: &Client) -> u64 {
    let metrics = client.metrics().unwrap();
    let mut lines = metrics.lines();
    let line = lines.find(|line| line.starts_with("hull_latencies_us_live_snapshot_pause"));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// No test of anything but that it works for these sizes; with `--nocapture` it tells how long their guests stood still.
#[test]
fn how_long_a_guest_stands_still_is_told() {
    if no_kvm() {
        return;
    }
    for mib in [128, 256, 1024] {
        let pages = (mib << 20) / 4096 - FIRST / 4096;
        let (vm, mut keys) = machine(pages);
        let vm = vm.set("/machine-config/mem_size_mib", json!(mib));
        let (mut running, client) = vm.serve(Configured::ByFile);
        running.await_output("ready\n");
        // The first turn is over.
        goes_on(&mut running, &mut keys);
        let times: Vec<_> = (0..5)
            .map(|_| {
                let pair = snapshot(&client, &vm, "one");
                fs::remove_file(&pair.memory).unwrap();
                stood_still(&client)
            })
            .collect();
        println!("{mib} MiB: {times:?} us");
    }
}
