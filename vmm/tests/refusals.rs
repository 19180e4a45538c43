//! What cannot be started is refused with one sentence and an exit status, and nothing is left.

mod common;

use std::fs;

use common::guest::Code;
use common::{Vm, no_kvm};
use hull_vm_api::ExitCause;
use serde_json::json;

#[test]
fn configurations_are_refused_before_anything_is_made() {
    let vm = Vm::empty().set("/machine-config/vcpus", json!(2));
    assert!(
        vm.run()
            .refusal(ExitCause::BadConfig)
            .contains("unknown field `vcpus`")
    );
    let vm = Vm::empty().set("/machine-config/mem_size_mib", json!(16));
    let ended = vm.run();
    let sentence = ended.refusal(ExitCause::BadConfig);
    assert!(
        sentence.contains("mem_size_mib is 16; it must be from 32"),
        "{sentence}"
    );

    let vm = Vm::empty();
    fs::write(vm.path("config.json"), "{").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hull-vmm"));
    let output = command
        .arg("--config-file")
        .arg(vm.path("config.json"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn kernels_that_are_none_are_named() {
    if no_kvm() {
        return;
    }
    let vm = Vm::empty();
    let ended = vm.run();
    let missing = ended.refusal(ExitCause::BadKernel);
    assert!(
        missing.contains("cannot open") && missing.contains("kernel_image_path"),
        "{missing}"
    );

    let damaged = common::guest::elf(0x10_0000, &[0x90; 100]);
    let kernels: [(&[u8], &str); 4] = [
        (b"", "kernel"),
        (
            b"#!/bin/sh\nthis is no kernel",
            "neither an ELF file nor a bzImage",
        ),
        (&damaged[..150], "damaged"),
        (&common::guest::elf(0x1000_0000, &[0x90]), "more memory"),
    ];
    for (bytes, word) in kernels {
        fs::write(vm.path("kernel"), bytes).unwrap();
        let ended = vm.run();
        let sentence = ended.refusal(ExitCause::BadKernel);
        assert!(sentence.contains(word), "{sentence}");
    }

    let vm = vm.set("/boot-source/kernel_image_path", json!("/"));
    assert!(
        vm.run()
            .refusal(ExitCause::BadKernel)
            .contains("is a directory")
    );
}

#[test]
fn initramfs_that_do_not_fit_are_refused() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    let initrd = vm.path("initrd");
    let vm = vm.set("/boot-source/initrd_path", json!(initrd));
    assert!(
        vm.run()
            .refusal(ExitCause::BadKernel)
            .contains("initrd_path")
    );
    fs::File::create(&initrd)
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    let ended = vm.run();
    let sentence = ended.refusal(ExitCause::BadKernel);
    assert!(sentence.contains("does not fit"), "{sentence}");
    fs::File::create(&initrd).unwrap();
    assert!(vm.run().refusal(ExitCause::BadKernel).contains("empty"));
}

#[test]
fn what_the_host_does_not_have_is_refused() {
    if no_kvm() {
        return;
    }
    let drive = |path: &str| json!([{ "drive_id": "d", "path_on_host": path, "is_root_device": false, "is_read_only": true }]);
    let vm = Vm::of(&Code::new().power_off()).set("/drives", drive("/no/such/disk"));
    let ended = vm.run();
    let sentence = ended.refusal(ExitCause::NoResource);
    assert!(
        sentence.contains("/no/such/disk") && sentence.contains("No such file"),
        "{sentence}"
    );
    let vm = vm.set("/drives", drive("fd:disk"));
    assert!(
        vm.run()
            .refusal(ExitCause::BadConfig)
            .contains("--fd disk=NUMBER")
    );
    let vm = vm.set("/drives", json!([])).arg("--fd=x=999");
    assert!(vm.run().refusal(ExitCause::BadConfig).contains("999"));

    let tap = json!([{ "iface_id": "n", "host_dev_name": "hull-mistyped" }]);
    let vm = Vm::of(&Code::new().power_off()).set("/network-interfaces", tap);
    let ended = vm.run();
    let sentence = ended.refusal(ExitCause::NoResource);
    assert!(
        sentence.contains("there is no TAP device hull-mistyped"),
        "{sentence}"
    );

    let vm = Vm::of(&Code::new().power_off())
        .set("/machine-config/mem_size_mib", json!((1 << 20) - 1024));
    let ended = vm.run();
    let sentence = ended.refusal(ExitCause::NoResource);
    assert!(
        sentence.contains("mem_size_mib is 1047552, and this host has"),
        "{sentence}"
    );

    let vm = Vm::of(&Code::new().power_off());
    fs::write(vm.path("vsock"), "precious").unwrap();
    assert!(
        vm.start()
            .end()
            .refusal(ExitCause::NoResource)
            .contains("is no socket")
    );
    assert_eq!(fs::read(vm.path("vsock")).unwrap(), b"precious");
}

#[test]
fn the_log_goes_where_and_as_it_is_told() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().out(0x64, 0xfe).spin()).set(
        "/logger",
        json!({ "level": "Info", "show_level": true, "show_log_origin": true }),
    );
    let log = vm.path("log");
    let vm = vm.set("/logger/log_path", json!(log)).arg("--id=vm-7");
    let ended = vm.run();
    assert_eq!(
        ended.refusal(ExitCause::Reboot),
        "hull-vmm: the guest rebooted"
    );
    let text = fs::read_to_string(&log).unwrap();
    let line = text.lines().last().unwrap();
    assert!(line.contains("[vm-7 INFO vmm/src/run.rs:"), "{line}");
    assert!(line.ends_with("] the guest rebooted"), "{line}");

    let vm = vm.arg("--level=off");
    fs::remove_file(&log).unwrap();
    vm.run();
    assert_eq!(fs::read(&log).unwrap(), b"");
}
