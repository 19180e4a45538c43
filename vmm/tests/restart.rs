//! Reboots with `machine-config.reboot: restart`: the same process, API and sockets, and a new guest.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use common::guest::Code;
use common::{Configured, Vm, fifo, no_kvm};
use hull_vm_api::config::{BootSource, DriveUpdate, HostPath, Serial};
use hull_vm_api::request::{Action, SnapshotCreate, SnapshotLoad, SnapshotType};
use hull_vm_api::{ExitCause, Stage};
use serde_json::{Value, json};

/// Prints a line and does what the key says that somebody types: `r` reboots, `t` faults three times over, others power off.
fn obedient() -> Vec<u8> {
    Code::new()
        .print("booted\n")
        .bytes(&[0x66, 0xba, 0xfd, 0x03]) // mov dx, 0x3fd
        .bytes(&[0xec, 0xa8, 0x01, 0x74, 0xfb]) // again: in al, dx; test al, 1; jz again
        .bytes(&[0x66, 0xba, 0xf8, 0x03, 0xec]) // mov dx, 0x3f8; in al, dx
        .bytes(&[0x3c, b't', 0x75, 0x02, 0x0f, 0x0b]) // cmp al, 't'; jne over ud2
        .bytes(&[0x3c, b'r', 0x75, 0x09]) // cmp al, 'r'; jne over what follows
        .out(0x64, 0xfe)
        .bytes(&[0xeb, 0xfe])
        .power_off()
}

#[test]
fn a_guest_that_reboots_is_started_again_in_the_same_process() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&obedient()).serial();
    let mut keys = fifo(&vm, "keys");
    let path = vm.path("keys");
    let metrics = vm.path("metrics");
    let vm = vm
        .set("/serial/serial_in_path", json!(path))
        .set("/machine-config/reboot", json!("restart"))
        .set("/machine-config/vcpu_count", json!(2))
        .arg(&format!("--metrics-path={}", metrics.display()));
    for disk in ["first", "second"] {
        fs::write(vm.path(disk), [0; 4096]).unwrap();
    }
    let disk =
        json!([{ "drive_id": "d", "path_on_host": vm.path("first"), "is_root_device": false }]);
    let vm = vm.set("/drives", disk);
    let (mut running, client) = vm.serve(Configured::ByFile);
    let socket = || fs::metadata(vm.path("vsock")).unwrap().ino();
    running.await_output("booted\n");
    let before = socket();
    client.put_mmds(&json!({ "a": "b" })).unwrap();
    // The new machine has the disk that was changed last.
    let second = DriveUpdate {
        drive_id: "d".to_owned(),
        path_on_host: Some(HostPath::try_from(vm.path("second").as_path()).unwrap()),
        rate_limiter: None,
    };
    client.patch_drive(&second).unwrap();
    for key in [b"r", b"t", b"r"] {
        keys.write_all(key).unwrap();
        running.await_output("booted\n");
        assert_eq!(client.instance().unwrap().state, Stage::Running);
        assert_eq!(client.mmds().unwrap(), json!({ "a": "b" }));
        assert_eq!(socket(), before, "the socket of vsock is another one");
        client.pause().unwrap();
        client.resume().unwrap();
    }
    let drives = client.config().unwrap().drives;
    assert_eq!(drives[0].path_on_host, second.path_on_host);
    client.action(Action::FlushMetrics).unwrap();
    // Each line of the metrics has what came since the one before.
    let lines = fs::read_to_string(&metrics).unwrap();
    let sum = |section: &str, field: &str| -> u64 {
        let lines = lines.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line[section][field].as_u64().unwrap()
        });
        lines.sum()
    };
    assert_eq!(sum("machine", "restarts"), 3, "{lines}");
    // Four times seven bytes.
    assert_eq!(sum("uart", "written_bytes"), 28, "{lines}");
    keys.write_all(b"q").unwrap();
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    assert!(
        ended.stderr.contains("starting it again"),
        "{}",
        ended.stderr
    );
    vm.assert_clean();
}

#[test]
fn a_guest_that_does_nothing_but_reboot_is_given_up() {
    if no_kvm() {
        return;
    }
    let reboot = Code::new().print("booted\n").out(0x64, 0xfe).spin();
    let vm = Vm::of(&reboot)
        .serial()
        .set("/machine-config/reboot", json!("restart"));
    let ended = vm.run();
    assert_eq!(ended.cause(), ExitCause::Reboot, "{ended:?}");
    assert_eq!(ended.stdout, "booted\n".repeat(6));
    let sentence = ended.sentence();
    assert!(
        sentence.contains("the guest rebooted")
            && sentence.contains("more than 5 times within 60 s"),
        "{sentence}"
    );
    vm.assert_clean();
}

#[test]
fn what_goes_without_saying_is_there_after_a_reboot_as_well() {
    if no_kvm() {
        return;
    }
    // The serial port is there because the kernel is told of it.
    let reboot = Code::new().print("booted\n").out(0x64, 0xfe).spin();
    let vm = Vm::of(&reboot)
        .set("/boot-source/boot_args", json!("console=ttyS0"))
        .set("/machine-config/reboot", json!("restart"));
    let ended = vm.run();
    assert_eq!(ended.cause(), ExitCause::Reboot, "{ended:?}");
    assert_eq!(ended.stdout, "booted\n".repeat(6));
    vm.assert_clean();
}

#[test]
fn a_restored_guest_that_reboots_boots_what_its_snapshot_names() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&obedient()).serial();
    let _keys = fifo(&vm, "keys");
    let path = vm.path("keys");
    let vm = vm
        .set("/serial/serial_in_path", json!(path))
        .set("/boot-source/boot_args", json!("one two"))
        .set("/machine-config/reboot", json!("restart"))
        .set("/vsock", json!(null));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("booted\n");
    client.pause().unwrap();
    let host = |name: &str| HostPath::try_from(vm.path(name).as_path()).unwrap();
    let create = SnapshotCreate {
        snapshot_type: SnapshotType::Full,
        snapshot_path: host("state"),
        mem_file_path: host("memory"),
        resume_vm: false,
    };
    client.create_snapshot(&create).unwrap();
    drop(running);

    let mut load = SnapshotLoad::new(host("state"), host("memory"));
    load.resume_vm = true;
    let restored = |name: &str, load: &SnapshotLoad| {
        let other = Vm::empty();
        let keys = fifo(&other, "keys");
        let (running, client) = other.serve(Configured::ByApi);
        let input = Some(HostPath::try_from(other.path("keys").as_path()).unwrap());
        let serial = Serial {
            serial_out_path: Some("/dev/stdout".into()),
            serial_in_path: input,
            rate_limiter: None,
        };
        client.put_serial(&serial).unwrap();
        println!("{name}");
        let loaded = client.load_snapshot(load);
        (other, keys, running, client, loaded)
    };
    let (_vm, mut keys, mut running, client, loaded) = restored("its own", &load);
    loaded.unwrap();
    for key in [b"r", b"r"] {
        keys.write_all(key).unwrap();
        running.await_output("booted\n");
    }
    let boot = client.config().unwrap().boot_source.unwrap();
    assert_eq!(boot.boot_args.as_deref(), Some("one two"));
    // What went on can be saved and go on again.
    client.pause().unwrap();
    client.create_snapshot(&create).unwrap();
    client.resume().unwrap();
    keys.write_all(b"q").unwrap();
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");

    fs::rename(vm.path("kernel"), vm.path("other")).unwrap();
    let (_vm, _keys, _running, client, loaded) = restored("gone", &load);
    let refused = loaded.unwrap_err().to_string();
    assert!(refused.contains("kernel_image_path"), "{refused}");
    // Another load can be tried in the same process.
    load.boot_source_override = Some(BootSource {
        kernel_image_path: host("other"),
        initrd_path: None,
        boot_args: None,
    });
    client.load_snapshot(&load).unwrap();
    let (_vm, mut keys, mut running, client, loaded) = restored("another", &load);
    loaded.unwrap();
    keys.write_all(b"r").unwrap();
    running.await_output("booted\n");
    let boot = client.config().unwrap().boot_source.unwrap();
    assert_eq!(boot.boot_args.as_deref(), Some("one two"));
    keys.write_all(b"q").unwrap();
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
}

#[test]
fn what_cannot_be_had_again_ends_the_machine_with_its_reason() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&obedient()).serial();
    let mut keys = fifo(&vm, "keys");
    let path = vm.path("keys");
    let vm = vm
        .set("/serial/serial_in_path", json!(path))
        .set("/machine-config/reboot", json!("restart"));
    let mut running = vm.start();
    running.await_output("booted\n");
    fs::remove_file(vm.path("kernel")).unwrap();
    keys.write_all(b"r").unwrap();
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::BadKernel, "{ended:?}");
    assert!(ended.sentence().contains("kernel_image_path"), "{ended:?}");
    vm.assert_clean();
}
