//! Pages that are recorded when a snapshot is loaded for the first time, and brought in when it is loaded again.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hull_vm_api::ExitCause;
use hull_vm_api::request::{SnapshotLoad, SnapshotType};
use rustix::fs::{Advice, fadvise};
use serde_json::json;

use crate::common::guest::{Code, Driven};
use crate::common::{Configured, Vm, no_kvm};
use crate::{Clone, Pair, host, refusal, snapshot};

const MEMORY: usize = 64 << 20;
const REGISTERS: u64 = 0xd000_0000;
const RECORDED: &str = "working set recorded: ";
const BROUGHT: &str = "working set brought in: ";

fn cannot_record() -> bool {
    if no_kvm() {
        return true;
    }
    let usable = File::open("/dev/userfaultfd").is_ok();
    if !usable {
        println!("SKIPPED: no usable /dev/userfaultfd");
    }
    !usable
}

/// Has written something, and looks for it and writes more with each key.
fn guest() -> Vm {
    let code = Code::new()
        .store(0x30_0000, 0x1122_3344)
        .store(0x340_0000, 0x55)
        .print("ready\n")
        .await_key()
        .await_byte(0x30_0000, 0x44)
        .store(0x31_0000, 1)
        .store(0x200_0000, 2)
        .print("one\n")
        .await_key()
        .await_byte(0x31_0000, 1)
        .await_byte(0x340_0000, 0x55)
        .print("two\n")
        .await_key()
        .power_off();
    Vm::of(&code).serial().set("/vsock", json!(null))
}

/// A snapshot of it, and where its working set is to be.
fn saved(vm: &Vm) -> (Pair, PathBuf) {
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    (snapshot(&client, vm, "one"), vm.path("set"))
}

fn with_set(pair: &Pair, set: &Path) -> SnapshotLoad {
    let mut load = pair.load();
    load.mem_backend.working_set = Some(host(set));
    load
}

/// Goes on to its end; what it logged.
fn go_on(load: &SnapshotLoad) -> String {
    let mut clone = Clone::load(load);
    clone.press("x");
    clone.running.await_output("one\n");
    clone.press("x");
    clone.running.await_output("two\n");
    clone.press("x");
    let ended = clone.running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    ended.stderr
}

/// How many pages a line of the log tells of.
fn pages(log: &str, line: &str) -> usize {
    let rest = log.split_once(line);
    let rest = rest.unwrap_or_else(|| panic!("no {line:?} in {log}")).1;
    rest.split_once(' ').unwrap().0.parse().unwrap()
}

#[test]
fn what_a_guest_touches_is_recorded_once_and_brought_in_later() {
    if cannot_record() {
        return;
    }
    let vm = guest();
    let (pair, set) = saved(&vm);
    let load = with_set(&pair, &set);
    let recorded = pages(&go_on(&load), RECORDED);
    assert!((4..1000).contains(&recorded), "{recorded}");
    let bytes = fs::read(&set).unwrap();
    assert_eq!(
        fs::metadata(&set).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // Those who come later need nothing else, and record nothing.
    for _ in 0..2 {
        let mut clone = Clone::load(&load);
        clone.running.await_log(BROUGHT);
        clone.press("x");
        clone.running.await_output("one\n");
        clone.press("x");
        clone.running.await_output("two\n");
        clone.press("x");
        clone.power_off();
        assert!(fs::read(&set).unwrap() == bytes);
    }
    let names = fs::read_dir(vm.dir.path()).unwrap();
    let mut names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
    assert!(names.all(|name| !name.contains("partial")));
}

#[test]
fn what_is_recorded_until_a_pause_is_there_with_its_answer_and_the_machine_goes_on_and_is_saved() {
    if cannot_record() {
        return;
    }
    let vm = guest();
    let (pair, set) = saved(&vm);
    let mut load = with_set(&pair, &set);
    load.track_dirty_pages = true;
    let mut clone = Clone::load(&load);
    clone.press("x");
    clone.running.await_output("one\n");
    // A copy of the process would find zeros where nothing is yet.
    let again = Pair::of(&vm, "again");
    let live = again.create(SnapshotType::Full);
    let refused = refusal(clone.client.create_snapshot(&live));
    assert!(
        refused.contains("working_set") && refused.contains("pause it first"),
        "{refused}"
    );
    assert!(!set.exists());
    clone.client.pause().unwrap();
    let recorded = fs::read(&set).unwrap();

    // A full one has all that nobody touched here, and a diff what was written.
    clone
        .client
        .create_snapshot(&again.create(SnapshotType::Full))
        .unwrap();
    let before = fs::read(&pair.memory).unwrap();
    let after = fs::read(&again.memory).unwrap();
    let differ = before[..MEMORY]
        .chunks(4096)
        .zip(after[..MEMORY].chunks(4096));
    let differ = differ.filter(|(a, b)| a != b).count();
    assert!((2..20).contains(&differ), "{differ} pages");
    clone.client.resume().unwrap();
    clone.press("x");
    clone.running.await_output("two\n");
    clone.client.pause().unwrap();
    let onto = Pair {
        memory: again.memory.clone(),
        state: vm.path("diff.state"),
    };
    clone
        .client
        .create_snapshot(&onto.create(SnapshotType::Diff))
        .unwrap();
    let full = snapshot(&clone.client, &vm, "full");
    assert!(crate::diff::guest_memory(&onto) == crate::diff::guest_memory(&full));
    drop(clone);
    assert!(fs::read(&set).unwrap() == recorded);
    for pair in [onto, full] {
        let mut last = Clone::load(&pair.load());
        last.press("x");
        last.power_off();
    }

    // One that never ran has touched nothing to speak of.
    let unused = vm.path("unused");
    let mut load = with_set(&pair, &unused);
    load.resume_vm = false;
    let clone = Clone::load(&load);
    snapshot(&clone.client, &vm, "same");
    drop(clone);
    assert!(!unused.exists());
}

#[test]
fn a_working_set_that_does_not_fit_is_recorded_anew_and_no_other_file_is_touched() {
    if cannot_record() {
        return;
    }
    let vm = guest();
    let (pair, set) = saved(&vm);
    go_on(&with_set(&pair, &set));
    let own = fs::read(&set).unwrap();
    let other = guest();
    let (others, _) = saved(&other);
    let load = with_set(&others, &set);
    let log = go_on(&load);
    assert!(log.contains("recorded of another snapshot"), "{log}");
    pages(&log, RECORDED);
    assert!(fs::read(&set).unwrap() != own);
    pages(&go_on(&load), BROUGHT);

    fs::write(&set, &own[..own.len() - 1]).unwrap();
    let log = go_on(&load);
    assert!(log.contains("damaged"), "{log}");
    pages(&go_on(&load), BROUGHT);

    fs::write(&set, "somebody's notes").unwrap();
    let clone = Clone::new(Vm::empty(), true);
    let refused = refusal(clone.client.load_snapshot(&load));
    assert!(refused.contains("no working set"), "{refused}");
    assert_eq!(fs::read(&set).unwrap(), b"somebody's notes");
    // It can be tried again in the same process, which begins a new recording.
    let fresh = with_set(&others, &vm.path("fresh"));
    clone.client.load_snapshot(&fresh).unwrap();
    clone.client.pause().unwrap();
    drop(clone);
    assert!(vm.path("fresh").exists());
    let nowhere = with_set(&others, &vm.path("missing/set"));
    let clone = Clone::new(Vm::empty(), true);
    let refused = refusal(clone.client.load_snapshot(&nowhere));
    assert!(refused.contains("missing/set"), "{refused}");
}

#[test]
fn memory_that_a_guest_gave_back_is_zeros_while_it_is_recorded() {
    if cannot_record() {
        return;
    }
    let (page, untouched, list) = (0x240_0000_u32, 0x250_0000_u32, 0x30_0000_u32);
    let mut balloon = Driven::new(0, 0x20_0000);
    let code = Code::new()
        .window(REGISTERS)
        .store(page, 0x77)
        .store(untouched, 0x77);
    let code = balloon.start(code, 2).print("ready\n").await_key();
    // One of them was touched here before, and one comes back without.
    let code = code
        .await_byte(page, 0x77)
        .store32(list, page >> 12)
        .store32(list + 4, untouched >> 12);
    let code = balloon.request(code, 0, &[(list, 8, false)]);
    let code = balloon.await_all(code, 0);
    let code = code
        .await_byte(page, 0)
        .await_byte(untouched, 0)
        .store(page, 0x78)
        .await_byte(page, 0x78)
        .print("zeros\n")
        .await_key()
        .await_byte(page, 0x78)
        .await_byte(untouched, 0)
        .power_off();
    let vm = Vm::of(&code).serial().set("/vsock", json!(null));
    let balloon = json!({ "amount_mib": 1, "deflate_on_oom": false });
    let vm = vm.set("/balloon", balloon);
    let (pair, set) = saved(&vm);
    let mut clone = Clone::load(&with_set(&pair, &set));
    clone.press("x");
    clone.running.await_output("zeros\n");
    clone.client.pause().unwrap();
    let again = snapshot(&clone.client, &vm, "again");
    clone.client.resume().unwrap();
    clone.press("x");
    clone.power_off();
    let mut last = Clone::load(&again.load());
    last.press("x");
    last.power_off();
}

#[test]
fn a_memory_file_that_is_shortened_while_it_is_recorded_ends_the_machine_with_a_sentence() {
    if cannot_record() {
        return;
    }
    let vm = guest();
    let (pair, set) = saved(&vm);
    let mut clone = Clone::load(&with_set(&pair, &set));
    let file = File::options().write(true).open(&pair.memory).unwrap();
    file.set_len(0).unwrap();
    clone.press("x");
    let ended = clone.running.end();
    assert_eq!(ended.cause(), ExitCause::NoResource, "{ended:?}");
    let expected = "the file of the snapshot's memory was made shorter while it was mapped";
    assert!(ended.sentence().ends_with(expected), "{ended:?}");
    assert!(!set.exists());
}

/// Fills 32 MiB, waits for a key, and then reads and writes pages of it here and there.
fn scattered() -> Vm {
    let touch = |count: u32, act: &[u8; 3]| {
        [
            &[0x48, 0xc7, 0xc1][..], // mov rcx, count
            &count.to_le_bytes(),
            &[0x48, 0x69, 0xc0, 0x0d, 0x66, 0x19, 0], // again: imul rax, rax, 0x19660d
            &[0x48, 0x05, 0x5f, 0xf3, 0x6e, 0x3c],    // add rax, 0x3c6ef35f
            &[0x48, 0x89, 0xc3],                      // mov rbx, rax
            &[0x48, 0x81, 0xe3, 0, 0xf0, 0xff, 1],    // and rbx, 0x1fff000
            &[0x48, 0x81, 0xc3, 0, 0, 0x40, 0],       // add rbx, 0x400000
            act,
            &[0x48, 0xff, 0xc9], // dec rcx
            &[0x75, 0xda],       // jnz again
        ]
        .concat()
    };
    let code = Code::new()
        .bytes(&[0x48, 0xc7, 0xc7, 0, 0, 0x40, 0]) // mov rdi, 0x400000
        .bytes(&[0x48, 0xc7, 0xc1, 0, 0, 0x40, 0]) // mov rcx, 0x400000
        .bytes(&[0x48, 0x89, 0xf8, 0xf3, 0x48, 0xab]) // mov rax, rdi; rep stosq
        .print("ready\n")
        .await_key()
        .bytes(&[0x48, 0xc7, 0xc0, 1, 0, 0, 0]) // mov rax, 1
        .bytes(&touch(2500, &[0x48, 0x8b, 0x13])) // mov rdx, [rbx]
        .bytes(&touch(500, &[0x48, 0x89, 0x03])) // mov [rbx], rax
        .print("done\n")
        .await_key()
        .power_off();
    Vm::of(&code).serial().set("/vsock", json!(null))
}

/// Faults of a process that waited for a disk, and the others; and the time of CPUs that it took, in milliseconds.
fn effort(pid: &str) -> [u64; 3] {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<u64> = stat.rsplit_once(") ").unwrap().1[2..]
        .split_whitespace()
        .map(|field| field.parse().unwrap_or_default())
        .collect();
    [fields[8], fields[6], (fields[10] + fields[11]) * 10]
}

/// `cargo test -p hull-vmm --test snapshot -- --ignored --nocapture how_long_the_first_pages_take`
#[test]
#[ignore = "it measures, and asserts nothing"]
fn how_long_the_first_pages_take() {
    if cannot_record() {
        return;
    }
    let vm = scattered();
    let (pair, set) = saved(&vm);
    let recorded = with_set(&pair, &set);
    for _ in 0..5 {
        for is_cold in [true, false] {
            let _ = fs::remove_file(&set);
            let cases = [
                ("mapped", &pair.load()),
                ("recording", &recorded),
                ("recorded", &recorded),
            ];
            for (case, load) in cases {
                let file = File::open(&pair.memory).unwrap();
                match is_cold {
                    true => fadvise(&file, 0, None, Advice::DontNeed).unwrap(),
                    false => drop(fs::read(&pair.memory).unwrap()),
                }
                let mut clone = Clone::new(Vm::empty(), true);
                clone.press("x");
                let began = Instant::now();
                clone.client.load_snapshot(load).unwrap();
                let loaded = began.elapsed();
                clone.running.await_output("done\n");
                let done = began.elapsed();
                let [major, minor, cpu] = effort(&clone.running.machine());
                clone.press("x");
                let ended = clone.running.end();
                let cache = if is_cold { "cold" } else { "warm" };
                println!(
                    "{cache}, {case}: loaded after {loaded:.1?}, done after {done:.1?}; {major} major faults, {minor} minor, {cpu} ms of CPUs"
                );
                let log = ended
                    .stderr
                    .lines()
                    .filter(|line| line.contains("working set"));
                log.for_each(|line| println!("    {line}"));
            }
        }
    }
}
