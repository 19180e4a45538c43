//! Every device, and vCPUs of every number.

use std::fs;

use hull_vm_api::config::Console;
use hull_vm_api::request::{
    DriveOverride, NetworkOverride, PmemOverride, ShareOverride, VsockOverride,
};
use serde_json::json;

use crate::common::guest::{Code, Driven};
use crate::common::{Configured, Vm, no_kvm};
use crate::{Clone, host, snapshot};

/// Initialises every device, waits for a key, and reads the first sector of the disk into memory: power-off if it has the byte `wanted`.
fn reading(wanted: u8) -> Vec<u8> {
    const VIRTIO: u64 = 0xd000_0000;
    let code = Code::new().window(VIRTIO);
    let mut disk = Driven::new(0, 0x40_0000);
    let code = disk.start(code, 1);
    let code = code.print("ready\n").await_key();
    let (header, data, status) = (0x30_0000, 0x31_0000, 0x32_0000);
    let code = code.store(header, 0).store(header + 8, 0);
    let code = disk.request(
        code,
        0,
        &[(header, 16, false), (data, 512, true), (status, 1, true)],
    );
    let code = disk.await_all(code, 0);
    code.await_byte(data, wanted).power_off()
}

#[test]
fn a_guest_drives_its_disk_on_and_everything_of_the_host_is_another() {
    if no_kvm() {
        return;
    }
    for runs in [false, true] {
        drive_on(runs);
    }
}

fn drive_on(runs: bool) {
    let vm = Vm::of(&reading(b'B')).every_device().serial();
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    if !runs {
        client.pause().unwrap();
    }
    let pair = snapshot(&client, &vm, "all");

    let other = Vm::empty().every_device();
    fs::write(other.path("disk"), vec![b'B'; 1 << 20]).unwrap();
    let mut clone = Clone::new(other, true);
    let console = Console {
        output_path: host(&clone.vm.path("console")),
        input_path: None,
        rows: None,
        columns: None,
    };
    clone.client.put_console(&console).unwrap();
    let mut load = pair.load();
    load.drive_overrides = vec![DriveOverride {
        drive_id: "d".to_owned(),
        path_on_host: Some(host(&clone.vm.path("disk"))),
        parts: Vec::new(),
    }];
    load.pmem_overrides = vec![PmemOverride {
        id: "p".to_owned(),
        path_on_host: Some(host(&clone.vm.path("pmem"))),
        parts: Vec::new(),
    }];
    load.share_overrides = vec![ShareOverride {
        tag: "s".to_owned(),
        path: host(&clone.vm.path("shared")),
    }];
    load.network_overrides = vec![NetworkOverride {
        iface_id: "n".to_owned(),
        host_dev_name: "hulltap1".into(),
    }];
    load.vsock_override = Some(VsockOverride {
        uds_path: host(&clone.vm.path("vsock")),
    });
    clone.client.load_snapshot(&load).unwrap();
    // The first machine has its own still, and holds their locks.
    let config = clone.client.config().unwrap();
    assert_eq!(config.boot_source, None);
    assert_eq!(
        config.drives[0].path_on_host,
        load.drive_overrides[0].path_on_host
    );
    assert_eq!(
        config.network_interfaces[0].host_dev_name.as_str(),
        "hulltap1"
    );
    assert!(clone.vm.path("vsock").exists() && clone.vm.path("console").exists());
    clone.press("x");
    clone.power_off();
}

/// The first vCPU wakes the others, which count up in memory for ever; it prints when all have, and once more after a key.
fn counting(others: u8) -> Vec<u8> {
    const TRAMPOLINE: u32 = 0x8000;
    const COUNTS: u32 = 0x8200;
    const WINDOW: u32 = crate::common::guest::WINDOW;
    let apic = |code: Code, register: u32, value: u32| code.store32(WINDOW + register, value);
    // mov ax, 1; lock xadd [0x8100], ax; shl ax, 1; mov bx, ax; again: inc byte [bx + 0x8200]; jmp again
    let other = [
        0xb8, 1, 0, 0xf0, 0x0f, 0xc1, 0x06, 0x00, 0x81, 0xd1, 0xe0, 0x89, 0xc3, 0xfe, 0x87, 0x00,
        0x82, 0xeb, 0xfa, 0x90, 0x90, 0x90, 0x90, 0x90,
    ];
    let code = Code::new().data(TRAMPOLINE, &other).store(0x8100, 0);
    let code = (0..32).fold(code, |code, index| code.store(COUNTS + index * 8, 0));
    let code = code.window(0xfee0_0000);
    let code = apic(code, 0xf0, 0x1ff);
    let code = apic(code, 0x300, 0x000c_4500);
    let code = apic(code, 0x300, 0x000c_4600 | TRAMPOLINE >> 12);
    // Each is seen to move: the byte is read until it changes.
    let moves = |code: Code, at: u32| {
        code.bytes(&[0x8a, 0x04, 0x25])
            .bytes(&at.to_le_bytes()) // mov al, [at]
            .bytes(&[0x3a, 0x04, 0x25])
            .bytes(&at.to_le_bytes()) // again: cmp al, [at]
            .bytes(&[0x74, 0xf7]) // je again
    };
    let all_move = |code: Code| {
        (0..u32::from(others)).fold(code, |code, index| moves(code, COUNTS + index * 2))
    };
    let code = all_move(code).print("moving\n").await_key();
    all_move(code).power_off()
}

#[test]
fn all_vcpus_go_on() {
    if no_kvm() {
        return;
    }
    for (vcpus, runs) in [(1, false), (2, false), (2, true), (32, false), (32, true)] {
        let vm = Vm::of(&counting(vcpus - 1)).serial();
        let vm = vm
            .set("/machine-config/vcpu_count", json!(vcpus))
            .set("/machine-config/smt", json!(vcpus == 32))
            .set("/vsock", json!(null));
        let (mut running, client) = vm.serve(Configured::ByFile);
        running.await_output("moving\n");
        if !runs {
            client.pause().unwrap();
        }
        let pair = snapshot(&client, &vm, "all");
        drop(running);
        let mut clone = Clone::load(&pair.load());
        clone.press("x");
        clone.power_off();
    }
}
