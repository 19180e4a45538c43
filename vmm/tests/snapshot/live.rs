//! Machines that run while they are saved.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use hull_vm_api::client::ClientError;
use hull_vm_api::request::{SnapshotCreate, SnapshotType};
use hull_vm_api::{Client, Stage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Configured, Running, Vm, fifo, no_kvm};
use crate::diff::guest_memory;
use crate::kills::fill;
use crate::refusals::in_small;
use crate::{Clone, Pair, host, refusal, snapshot};

/// Where the guest writes, and to how many pages.
const FIRST: usize = 4 << 20;
const PAGES: usize = 8192;

const MINUTE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

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
    let (vm, mut keys) = machine(PAGES);
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let mut before = 0;
    for round in 0..3 {
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

/// Told with `--nocapture`, by a release build.
#[test]
#[ignore = "writes gigabytes"]
fn how_long_a_guest_stands_still_is_told() {
    if no_kvm() {
        return;
    }
    for (mib, huge_pages) in [
        (128, "None"),
        (256, "None"),
        (256, "Transparent"),
        (1024, "None"),
    ] {
        let pages = (mib << 20) / 4096 - FIRST / 4096;
        let (vm, mut keys) = machine(pages);
        let vm = vm
            .set("/machine-config/mem_size_mib", json!(mib))
            .set("/machine-config/huge_pages", json!(huge_pages));
        let (mut running, client) = vm.serve(Configured::ByFile);
        running.await_output("ready\n");
        // The first turn is over.
        goes_on(&mut running, &mut keys);
        let times: Vec<_> = (0..3)
            .map(|_| {
                let pair = snapshot(&client, &vm, "one");
                fs::remove_file(&pair.memory).unwrap();
                stood_still(&client)
            })
            .collect();
        println!("{mib} MiB, huge pages {huge_pages}: {times:?} us");
    }
}

/// The process that writes, if it is there: the child of the thread of snapshots.
fn copy_of(machine: &str) -> Option<Pid> {
    let tasks = fs::read_dir(format!("/proc/{machine}/task")).ok()?;
    let mut tasks = tasks.flatten().map(|task| task.path());
    let is_it = |task: &PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "snapshot\n")
    };
    let children = fs::read_to_string(tasks.find(is_it)?.join("children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// Whether a process has written anything.
fn has_written(pid: Pid) -> bool {
    let io = fs::read_to_string(format!("/proc/{}/io", pid.as_raw_nonzero()));
    let io = io.unwrap_or_default();
    let mut lines = io.lines();
    lines.any(|line| {
        line.strip_prefix("wchar: ")
            .is_some_and(|count| count != "0")
    })
}

/// Whether a process stands still, or None if it has ended.
fn is_stopped(pid: Pid) -> Option<bool> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, state) = stat.rsplit_once(") ")?;
    (!state.starts_with(['Z', 'X'])).then(|| state.starts_with(['T', 't']))
}

/// A snapshot under way, whose copy is held.
struct Held {
    copy: Pid,
    handle: OwnedFd,
    answer: JoinHandle<Result<(), ClientError>>,
}

impl Held {
    /// Begins it, and stops the copy before it is done. The one that is too fast to be seen is taken again.
    fn begin(vm: &Vm, running: &Running, pair: &Pair) -> Self {
        Self::begin_as(vm, running, pair, || pair.create(SnapshotType::Full))
    }

    /// The same of what there is to ask for.
    fn begin_as(
        vm: &Vm,
        running: &Running,
        pair: &Pair,
        create: impl Fn() -> SnapshotCreate,
    ) -> Self {
        let machine = running.machine();
        loop {
            let (client, create) = (Client::new(vm.path("api")), create());
            let answer = thread::spawn(move || client.create_snapshot(&create));
            while !answer.is_finished() {
                let Some(copy) = copy_of(&machine) else {
                    continue;
                };
                let Ok(handle) = pidfd_open(copy, PidfdFlags::empty()) else {
                    continue;
                };
                if !has_written(copy) {
                    continue;
                }
                let _ = kill_process(copy, Signal::STOP);
                while is_stopped(copy) == Some(false) {}
                if is_stopped(copy) == Some(true) {
                    return Self {
                        copy,
                        handle,
                        answer,
                    };
                }
            }
            answer.join().unwrap().unwrap();
            fs::remove_file(&pair.state).unwrap();
            fs::remove_file(&pair.memory).unwrap();
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.copy, signal).unwrap();
    }

    fn answer(self) -> Result<(), ClientError> {
        self.answer.join().unwrap()
    }

    /// Waits until the copy has ended.
    fn await_end(&self) {
        let ended = poll(
            &mut [PollFd::new(&self.handle, PollFlags::IN)],
            Some(&MINUTE),
        );
        assert_eq!(ended, Ok(1), "the copy lives on");
    }
}

/// Files of the snapshot, whole or not.
fn files(vm: &Vm) -> Vec<String> {
    let names = fs::read_dir(vm.dir.path()).unwrap();
    let names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("one.")).collect()
}

#[test]
fn while_a_snapshot_is_written_the_microvm_does_what_it_is_asked() {
    if no_kvm() {
        return;
    }
    let (vm, mut keys) = machine(PAGES);
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let (one, two) = (Pair::of(&vm, "one"), Pair::of(&vm, "two"));
    let held = Held::begin(&vm, &running, &one);
    goes_on(&mut running, &mut keys);
    assert_eq!(client.instance().unwrap().state, Stage::Running);
    let another = || refusal(client.create_snapshot(&two.create(SnapshotType::Full)));
    assert!(another().contains("still being written"), "{}", another());
    client.pause().unwrap();
    assert!(another().contains("still being written"), "{}", another());
    client.resume().unwrap();
    goes_on(&mut running, &mut keys);
    assert!(files(&vm).is_empty());
    held.signal(Signal::CONT);
    held.answer().unwrap();
    // It was taken when it was begun.
    let turn = turns(&one.memory, PAGES);
    client
        .create_snapshot(&two.create(SnapshotType::Full))
        .unwrap();
    assert!(turns(&two.memory, PAGES) > turn);
    let mut clone = Clone::load(&one.load());
    goes_on(&mut clone.running, &mut clone.keys);

    // A copy that is killed is no snapshot, and the guest does not notice.
    fs::remove_file(&one.state).unwrap();
    fs::remove_file(&one.memory).unwrap();
    let held = Held::begin(&vm, &running, &one);
    held.signal(Signal::KILL);
    let sentence = refusal(held.answer());
    assert!(sentence.contains("was killed, by signal 9"), "{sentence}");
    assert!(files(&vm).is_empty());
    goes_on(&mut running, &mut keys);
    client
        .create_snapshot(&one.create(SnapshotType::Full))
        .unwrap();
    turns(&one.memory, PAGES);
}

#[test]
fn one_that_is_paused_goes_on_as_soon_as_it_is_copied() {
    if no_kvm() {
        return;
    }
    let (vm, mut keys) = machine(PAGES);
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let one = Pair::of(&vm, "one");
    let going_on = |pair: &Pair| SnapshotCreate {
        resume_vm: true,
        ..pair.create(SnapshotType::Full)
    };
    // What comes to nothing before leaves it paused.
    client.pause().unwrap();
    refusal(client.create_snapshot(&going_on(&Pair::of(&vm, "missing/one"))));
    assert_eq!(client.instance().unwrap().state, Stage::Paused);
    client.resume().unwrap();
    goes_on(&mut running, &mut keys);
    let held = Held::begin_as(&vm, &running, &one, || {
        client.pause().unwrap();
        going_on(&one)
    });
    goes_on(&mut running, &mut keys);
    assert_eq!(client.instance().unwrap().state, Stage::Running);
    held.signal(Signal::CONT);
    held.answer().unwrap();
    turns(&one.memory, PAGES);
    let mut clone = Clone::load(&one.load());
    goes_on(&mut clone.running, &mut clone.keys);
}

#[test]
fn whoever_ends_while_a_copy_writes_leaves_no_process_and_no_file() {
    if no_kvm() {
        return;
    }
    for arguments in [&[][..], &["--no-sandbox"]] {
        for (of_machine, signal) in [
            (false, Signal::KILL),
            (true, Signal::KILL),
            (false, Signal::INT),
        ] {
            let (vm, _keys) = machine(PAGES);
            let vm = arguments.iter().fold(vm, |vm, argument| vm.arg(argument));
            let (mut running, _) = vm.serve(Configured::ByFile);
            running.await_output("ready\n");
            let held = Held::begin(&vm, &running, &Pair::of(&vm, "one"));
            let whom = match of_machine {
                true => Pid::from_raw(running.machine().parse().unwrap()).unwrap(),
                false => running.pid(),
            };
            kill_process(whom, signal).unwrap();
            held.await_end();
            running.wait();

            assert!(held.answer().is_err());
            assert!(files(&vm).is_empty(), "{arguments:?} {signal:?}");
        }
    }
}

#[test]
fn a_guest_that_starts_again_while_a_copy_writes_has_no_snapshot() {
    if no_kvm() {
        return;
    }
    // With a key it says so and reboots.
    let code = fill()
        .print("ready\n")
        .await_key()
        .print("again\n")
        .out(0x64, 0xfe)
        .spin();
    let vm = Vm::of(&code).serial().set("/vsock", json!(null));
    let mut keys = fifo(&vm, "keys");
    let path = vm.path("keys");
    let vm = vm.set("/serial/serial_in_path", json!(path));
    let vm = vm.set("/machine-config/reboot", json!("restart"));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let one = Pair::of(&vm, "one");
    let held = Held::begin(&vm, &running, &one);
    keys.write_all(b"x").unwrap();
    running.await_output("again\nready\n");
    held.signal(Signal::CONT);
    held.await_end();
    let sentence = refusal(held.answer());
    assert!(
        sentence.contains("ended before it was written"),
        "{sentence}"
    );
    assert!(files(&vm).is_empty());
    client
        .create_snapshot(&one.create(SnapshotType::Full))
        .unwrap();
    let mut clone = Clone::load(&one.load());
    clone.press("x");
    clone.running.await_output("again\n");
}

#[test]
fn where_there_is_no_room_the_guest_goes_on() {
    if no_kvm() {
        return;
    }
    let (mut vm, mut keys) = machine(PAGES);
    vm.small_disk = 8 << 20;
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    // It has written to all of its pages.
    goes_on(&mut running, &mut keys);
    let one = Pair::of(&vm, "one");
    let mut create = one.create(SnapshotType::Full);
    create.mem_file_path = host(&vm.path("small/file"));
    let sentence = refusal(client.create_snapshot(&create));
    assert!(sentence.contains("no room"), "{sentence}");
    assert_eq!(in_small(&running, &vm), 0);
    assert!(files(&vm).is_empty());
    goes_on(&mut running, &mut keys);
    client
        .create_snapshot(&one.create(SnapshotType::Full))
        .unwrap();
    turns(&one.memory, PAGES);
}

#[test]
fn diffs_of_a_guest_that_runs_are_what_a_full_snapshot_is() {
    if no_kvm() {
        return;
    }
    let (mut vm, mut keys) = machine(PAGES);
    vm.small_disk = 1 << 20;
    let vm = vm.set("/machine-config/track_dirty_pages", json!(true));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let chain = Pair::of(&vm, "chain");
    let full = Pair::of(&vm, "full");
    let small = Pair::of(&vm, "small/one");
    let take = |pair: &Pair, kind| client.create_snapshot(&pair.create(kind));
    for _ in 0..3 {
        for _ in 0..3 {
            // Each is put together with the one before it, whose name it takes.
            take(&chain, SnapshotType::Diff).unwrap();
            turns(&chain.memory, PAGES);
            // One for which there is no room takes nothing from the next.
            let refused = refusal(take(&small, SnapshotType::Diff));
            assert!(refused.contains("no room"), "{refused}");
        }
        client.pause().unwrap();
        take(&chain, SnapshotType::Diff).unwrap();
        take(&full, SnapshotType::Full).unwrap();
        assert!(guest_memory(&chain) == guest_memory(&full));
        client.resume().unwrap();
        // The chain goes on from there.
        fs::copy(&full.memory, &chain.memory).unwrap();
        goes_on(&mut running, &mut keys);
    }
    take(&chain, SnapshotType::Diff).unwrap();
    let mut clone = Clone::load(&chain.load());
    goes_on(&mut clone.running, &mut clone.keys);
}
