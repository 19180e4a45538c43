//! Linux on the whole machine: it boots, finds what there is, and its ends arrive as what they are.

mod common;
#[path = "common/typist.rs"]
mod typist;
#[path = "common/vector.rs"]
mod vector;

use std::io::Write;

use common::guest::{Then, initramfs, initramfs_of};
use common::{Ended, Vm, fifo, no_kvm};
use hull_vm_api::ExitCause;
use serde_json::json;

/// A machine with the guest kernel, this host's arguments, and an init that prints a line.
fn linux(vcpus: u8, more_args: &str, then: Then) -> Vm {
    linux_with(vcpus, more_args, &initramfs(then))
}

/// The same with another initramfs.
fn linux_with(vcpus: u8, more_args: &str, initramfs: &[u8]) -> Vm {
    common::linux::linux(vcpus, more_args, initramfs).set("/entropy", json!({}))
}

#[test]
fn linux_without_acpi_has_all_vcpus_and_powers_off() {
    if no_kvm() {
        return;
    }
    let vm = linux(2, "acpi=off", Then::PowerOff);
    let ended = vm.run();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    let console = &ended.stdout;
    assert!(console.contains("init runs on CPUs 3"), "{console}");
    found_its_device(&vm, &ended);
}

#[test]
fn linux_with_acpi_panics_when_init_ends() {
    if no_kvm() {
        return;
    }
    let vm = linux(1, "", Then::Exit);
    let ended = vm.run();
    assert_eq!(ended.cause(), ExitCause::Panic, "{ended:?}");
    let console = &ended.stdout;
    assert!(console.contains("Attempted to kill init"), "{console}");
    found_its_device(&vm, &ended);
}

#[test]
fn programs_keep_their_vector_registers_from_each_other() {
    if no_kvm() {
        return;
    }
    if !std::arch::is_x86_feature_detected!("avx") {
        println!("SKIPPED: this processor has no AVX");
        return;
    }
    let vm = linux_with(1, "acpi=off", &initramfs_of(vector::init()));
    let ended = vm.run();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    let console = &ended.stdout;
    assert!(console.contains("registers kept"), "{console}");
}

/// What Linux says when a machine is not as it should be, in lower case.
const COMPLAINTS: [&str; 16] = [
    "warning",
    "bug:",
    "call trace",
    "firmware bug",
    "calibrating delay loop...",
    "fast tsc calibration",
    "unstable",
    "skew",
    "mismatch",
    "not responding",
    "timed out",
    "disabling",
    "unable",
    "error",
    "fail",
    "invalid",
];

#[test]
fn linux_finds_nothing_to_calibrate_or_to_complain_of() {
    if no_kvm() {
        return;
    }
    // Four vCPUs are two cores of two threads; a part of the memory is above the hole for devices.
    for acpi in ["acpi=off", "acpi=on"] {
        let vm = linux(4, &format!("loglevel=7 {acpi}"), Then::PowerOff)
            .set("/machine-config/smt", json!(true))
            .set("/machine-config/mem_size_mib", json!(4608));
        let ended = vm.run();
        assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
        let log = &ended.stdout;
        let complaint = |line: &&str| {
            // What was asked for on the command line is no complaint.
            let line = line.to_lowercase();
            let asked_for =
                line.contains("command line:") || line.contains("rcu_cpu_stall_suppress");
            !asked_for && COMPLAINTS.iter().any(|word| line.contains(word))
        };
        let complaints: Vec<&str> = log.lines().filter(complaint).collect();
        assert!(complaints.is_empty(), "{acpi}: {complaints:#?}");
        for expected in [
            "BIOS-e820: [mem 0x0000000100000000-0x000000015fffffff] usable",
            "Hypervisor detected: KVM",
            "kvm-clock: Using msrs",
            "tsc: Detected",
            "x2apic",
            "smp: Brought up 1 node, 4 CPUs",
            "Max. threads per core:   2",
            "Num. cores per package:     2",
            "Calibrating delay loop (skipped)",
        ] {
            assert!(log.contains(expected), "{acpi}: no {expected:?} in {log}");
        }
    }
}

/// The driver of the one virtio device read its registers, and none of them was found twice.
fn found_its_device(vm: &Vm, ended: &Ended) {
    assert!(vm.metrics()["exits"]["mmio_read"].as_u64().unwrap() > 0);
    assert!(!ended.stdout.contains("error -16"), "{}", ended.stdout);
}

#[test]
fn linux_is_typed_into_and_started_again_when_it_reboots() {
    if no_kvm() {
        return;
    }
    let vm = linux_with(1, "acpi=off", &initramfs_of(typist::init()));
    let mut keys = fifo(&vm, "keys");
    let path = vm.path("keys");
    let vm = vm
        .set("/serial/serial_in_path", json!(path))
        .set("/machine-config/reboot", json!("restart"));
    let mut running = vm.start();
    running.await_output("what now?\r\n");
    keys.write_all(b"hello\n").unwrap();
    // The terminal's echo, and what init has read.
    running.await_output("hello\r\nread hello\r\n");
    running.await_output("what now?\r\n");
    keys.write_all(b"r\n").unwrap();
    running.await_output("read r\r\n");
    running.await_output("what now?\r\n");
    keys.write_all(b"q\n").unwrap();
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
}
