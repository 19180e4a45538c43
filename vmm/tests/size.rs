//! Machines of every size: vCPUs that wake up, and memory on both sides of the hole.

mod common;

use std::fs;

use common::guest::{Code, WINDOW};
use common::{Configured, Vm, no_kvm};
use hull_vm_api::ExitCause;
use rustix::process::Signal;
use serde_json::json;

/// Where the other vCPUs start, in real mode, and the word in which they are counted.
const TRAMPOLINE: u32 = 0x8000;
const COUNT: u32 = 0x8100;

/// The first vCPU wakes all others, waits until `others` of them have counted themselves, and powers off.
fn roll_call(others: u8) -> Vec<u8> {
    // lock inc word [COUNT]; cli; hlt
    let other = [0xf0, 0xff, 0x06, 0x00, 0x81, 0xfa, 0xf4, 0x90];
    Code::new()
        .store(TRAMPOLINE, u64::from_le_bytes(other))
        .store(COUNT, 0)
        .window(0xfee0_0000)
        // The APIC's spurious vector register switches it on; then INIT and start-up to all but itself.
        .bytes(&apic(0xf0, 0x1ff))
        .bytes(&apic(0x300, 0x000c_4500))
        .bytes(&apic(0x300, 0x000c_4600 | TRAMPOLINE >> 12))
        .bytes(&[0x66, 0x81, 0x3c, 0x25]) // again: cmp word [COUNT], others
        .bytes(&COUNT.to_le_bytes())
        .bytes(&[others, 0])
        .bytes(&[0x75, 0xf4]) // jne again
        .power_off()
}

/// `mov dword [WINDOW + register], value`
fn apic(register: u32, value: u32) -> Vec<u8> {
    let address = (WINDOW + register).to_le_bytes();
    [&[0xc7, 0x04, 0x25], &address[..], &value.to_le_bytes()[..]].concat()
}

#[test]
fn all_vcpus_wake_up() {
    if no_kvm() {
        return;
    }
    for vcpus in [2, 3, 32] {
        let vm = Vm::of(&roll_call(vcpus - 1))
            .set("/machine-config/vcpu_count", json!(vcpus))
            .set("/machine-config/smt", json!(vcpus == 32));
        let ended = vm.run();
        assert_eq!(
            ended.cause(),
            ExitCause::PowerOff,
            "{vcpus} vCPUs: {ended:?}"
        );
    }
}

/// Writes to the last bytes of a window and reads them back: power-off if they are memory, reboot if not.
fn probe_memory(physical: u64) -> Vec<u8> {
    let last = WINDOW + (2 << 20) - 8;
    Code::new()
        .window(physical)
        .store(last, 0x1234_5678_9abc_def0)
        .bytes(&[0x48, 0x3b, 0x04, 0x25]) // cmp rax, [last]
        .bytes(&last.to_le_bytes())
        .bytes(&[0x75, 0x09]) // jne to what follows the power-off
        .bytes(&Code::new().power_off())
        .out(0x64, 0xfe)
        .spin()
}

#[test]
fn memory_beyond_4_gib_ends_where_it_should() {
    if no_kvm() {
        return;
    }
    // 5 GiB: 3 below the hole, 2 above it.
    let cases = [
        (0xbfe0_0000, ExitCause::PowerOff),
        (0xc000_0000, ExitCause::Reboot),
        (0x1_0000_0000, ExitCause::PowerOff),
        (0x1_7fe0_0000, ExitCause::PowerOff),
        (0x1_8000_0000, ExitCause::Reboot),
    ];
    for (physical, cause) in cases {
        let vm =
            Vm::of(&probe_memory(physical)).set("/machine-config/mem_size_mib", json!(5 << 10));
        assert_eq!(vm.run().cause(), cause, "{physical:#x}");
    }
}

#[test]
fn the_smallest_machine_and_every_kind_of_page_run() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&probe_memory(0x1e0_0000)).set("/machine-config/mem_size_mib", json!(32));
    assert_eq!(vm.run().cause(), ExitCause::PowerOff);
    let vm = vm.set("/machine-config/huge_pages", json!("Transparent"));
    assert_eq!(vm.run().cause(), ExitCause::PowerOff);
    let vm = vm.set("/machine-config/track_dirty_pages", json!(true));
    assert_eq!(vm.run().cause(), ExitCause::PowerOff);
}

#[test]
fn huge_pages_are_used_or_asked_for() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&probe_memory(0x1e0_0000)).set("/machine-config/huge_pages", json!("2M"));
    let ended = vm.run();
    if ended.cause() != ExitCause::PowerOff {
        let sentence = ended.refusal(ExitCause::NoResource);
        assert!(
            sentence.contains("no 32 free huge pages of 2 MiB; reserve them"),
            "{sentence}"
        );
    }
}

/// KiB of the guest's memory that the host has given to a process that runs.
fn given(vm: &Vm) -> u64 {
    let (mut running, _client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", running.machine())).unwrap();
    let line = smaps
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    running.signal(Signal::INT);
    running.wait();
    kib.parse().unwrap()
}

/// A part of a process's memory, of `/proc/PID/smaps`.
struct Mapping {
    range: String,
    permissions: String,
    name: String,
    /// KiB, all of it and what no file has.
    size: u64,
    anonymous: u64,
}

fn mappings(process: &str) -> Vec<Mapping> {
    let smaps = fs::read_to_string(format!("/proc/{process}/smaps")).unwrap();
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["Size:", size, "kB"] => mappings.last_mut().unwrap().size = size.parse().unwrap(),
            ["Anonymous:", kib, "kB"] => {
                mappings.last_mut().unwrap().anonymous = kib.parse().unwrap();
            }
            [range, permissions, _, _, _, ..] if range.contains('-') => mappings.push(Mapping {
                range: range.to_owned(),
                permissions: permissions.to_owned(),
                name: words.get(5).copied().unwrap_or_default().to_owned(),
                size: 0,
                anonymous: 0,
            }),
            _ => {}
        }
    }
    mappings
}

#[test]
fn a_machine_that_runs_has_little_memory_of_its_own() {
    if no_kvm() {
        return;
    }
    let mut vm = Vm::of(&Code::new().print("ready\n").spin()).serial();
    vm.own_network = true;
    fs::write(vm.path("disk"), vec![0; 1 << 20]).unwrap();
    let drive =
        json!({ "drive_id": "d", "path_on_host": vm.path("disk"), "is_root_device": false });
    let interface = json!({ "iface_id": "n", "host_dev_name": "hulltap0" });
    let vm = vm
        .set("/drives", json!([drive]))
        .set("/network-interfaces", json!([interface]));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    // Both have done with their start when one has passed this on and the other has answered it.
    client.pause().unwrap();
    for process in [running.pid().to_string(), running.machine()] {
        let mappings = mappings(&process);
        // libc reserves 64 MiB for each heap of a thread.
        let reserved = mappings
            .iter()
            .filter(|mapping| mapping.permissions == "---p" && mapping.size > 32 << 10)
            .map(|mapping| &mapping.range);
        assert_eq!(reserved.collect::<Vec<_>>(), [""; 0], "threads have heaps");
        let heap = mappings.iter().filter(|mapping| mapping.name == "[heap]");
        let heap: u64 = heap.map(|mapping| mapping.anonymous).sum();
        assert!((1..=96).contains(&heap), "{heap} KiB of heap");
    }
    running.signal(Signal::INT);
    running.wait();
}

#[test]
fn all_memory_is_there_before_the_start_if_it_is_to_be() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().print("ready\n").spin()).serial();
    let lazily = given(&vm);
    let vm = vm.set("/machine-config/prefault", json!(true));
    let at_once = given(&vm);
    assert!(at_once >= 64 << 10, "{at_once} KiB of 64 MiB");
    assert!(lazily < 32 << 10, "{lazily} KiB without prefault");

    // What the kernel itself takes is never available.
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.unwrap().trim().strip_suffix(" kB").unwrap();
    let mib = total.parse::<u64>().unwrap() >> 10;
    let vm = vm.set("/machine-config/mem_size_mib", json!(mib));
    let ended = vm.run();
    let sentence = ended.refusal(ExitCause::NoResource);
    let word = format!("prefault wants all of mem_size_mib {mib} at once, and this host can give");
    assert!(sentence.contains(&word), "{sentence}");
}

#[test]
fn each_vcpu_runs_where_it_is_told_to() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().print("ready\n").spin())
        .serial()
        .set("/machine-config/vcpu_count", json!(3))
        .set("/machine-config/cpu_affinity", json!([[1], [0, 1], [0]]));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    // A pause waits for every vCPU; until then, only the first one is known to be where it is to be.
    client.pause().unwrap();
    let mut seen = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", running.machine())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        if field("Name:").starts_with("vcpu") {
            seen.push((field("Name:"), field("Cpus_allowed_list:")));
        }
    }
    seen.sort();
    let expected = [("vcpu0", "1"), ("vcpu1", "0-1"), ("vcpu2", "0")];
    let expected = expected.map(|(name, cpus)| (name.to_owned(), cpus.to_owned()));
    assert_eq!(seen, expected);
    running.signal(Signal::INT);
    running.wait();

    let vm = vm.set("/machine-config/cpu_affinity", json!([[1], [0, 8191], [0]]));
    let ended = vm.run();
    let sentence = ended.refusal(ExitCause::BadConfig);
    assert!(
        sentence.contains("CPU 8191 for vCPU 1") && sentence.contains("list some of these"),
        "{sentence}"
    );
}

#[test]
fn memory_that_is_plugged_in_is_not_of_reserved_huge_pages() {
    let vm = Vm::of(&Code::new().power_off())
        .set("/machine-config/huge_pages", json!("2M"))
        .set("/memory-hotplug", json!({ "total_size_mib": 128 }));
    let ended = vm.run();
    let sentence = ended.refusal(ExitCause::BadConfig);
    assert!(
        sentence.contains("memory-hotplug does not go with machine-config.huge_pages 2M"),
        "{sentence}"
    );
}
