//! A Linux that goes on in another process, with every device.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use hull_vm_api::config::{BalloonUpdate, MemoryHotplugUpdate};
use hull_vm_api::request::{NetworkOverride, SnapshotCreate, SnapshotType, VsockOverride};
use serde_json::json;

use crate::common::no_kvm;
use crate::files::{check_ext4, ext4, read_ext4};
use crate::shell::{Guest, Machine, await_that};

/// A machine of two vCPUs with one of each device.
fn machine() -> Machine {
    let machine = Machine::new(2, 128).with_network();
    let content = machine.path("content");
    let shared = machine.path("shared");
    for directory in [&content, &shared] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(content.join("given"), "by the host\n").unwrap();
    let (disk, pmem) = (machine.path("disk"), machine.path("pmem"));
    ext4(&disk, 32, &content);
    ext4(&pmem, 16, &content);
    let console = machine.path("console");
    machine
        .share("s", &shared, false)
        .set("/drives", json!([{ "drive_id": "d", "path_on_host": disk, "is_root_device": false, "io_engine": "Async" }]))
        .set("/pmem", json!([{ "id": "p", "path_on_host": pmem }]))
        .set("/network-interfaces", json!([{ "iface_id": "n", "host_dev_name": "hulltap0" }]))
        .set("/console", json!({ "output_path": console }))
        .set("/entropy", json!({}))
        .set("/balloon", json!({ "amount_mib": 0, "deflate_on_oom": true, "stats_polling_interval_s": 1 }))
        .set("/memory-hotplug", json!({ "total_size_mib": 128 }))
}

/// What Linux says when time has jumped, or a device does not answer.
const COMPLAINTS: &str = "unstable|lockup|stall|hung|timed out|error|fail|bug:|warning";

#[test]
fn linux_goes_on_with_all_its_devices() {
    if no_kvm() {
        return;
    }
    let mut guest = machine().boot();
    guest.sh("
        mkdir /system /shared /fixed
        mount -t ext4 /dev/vda /system
        mount -t ext4 -o dax=always /dev/pmem0 /fixed
        mount -t virtiofs s /shared
        ip link set eth0 up
        exec 5>/shared/open
        echo before >&5
        cp /bin/busybox /system/large
        (while :; do echo x >> /tmp/count; sleep 0.1; done) &
        echo before > /dev/hvc0");
    let update = BalloonUpdate { amount_mib: 8 };
    guest.client.patch_balloon(&update).unwrap();
    let requested_size_mib = 128;
    let update = MemoryHotplugUpdate { requested_size_mib };
    guest.client.patch_memory_hotplug(&update).unwrap();
    await_that("memory is plugged", || {
        guest.client.memory_hotplug().unwrap().plugged_size_mib == 128
    });
    await_that("the balloon is inflated", || {
        guest.client.balloon_statistics().unwrap().actual_mib == 8
    });
    let complaints = guest.try_sh(&format!("dmesg | grep -ciE '{COMPLAINTS}'")).1;

    let count = count_of(&mut guest);
    let mut guest = guest.move_on(SnapshotType::Full, |load| load.track_dirty_pages = true);
    assert_eq!(guest.client.memory_hotplug().unwrap().plugged_size_mib, 128);
    await_that("programs run on", || count_of(&mut guest) > count);
    check(&mut guest, "once");

    // One while it runs, on which the next one builds.
    let host = |name: &str| guest.path(name).as_path().try_into().unwrap();
    let create = SnapshotCreate {
        snapshot_type: SnapshotType::Diff,
        snapshot_path: host("state"),
        mem_file_path: host("memory"),
        resume_vm: false,
    };
    guest.client.create_snapshot(&create).unwrap();
    let count = count_of(&mut guest);
    await_that("programs run on", || count_of(&mut guest) > count);

    // And again, only what was written since, onto the same files, with another TAP and another socket.
    let socket = guest.path("other-vsock");
    let mut guest = guest.move_on(SnapshotType::Diff, |load| {
        load.network_overrides = vec![NetworkOverride {
            iface_id: "n".to_owned(),
            host_dev_name: "hulltap1".into(),
        }];
        load.vsock_override = Some(VsockOverride {
            uds_path: socket.as_path().try_into().unwrap(),
        });
    });
    check(&mut guest, "twice");
    answers(&socket);
    let after = guest.try_sh(&format!("dmesg | grep -ciE '{COMPLAINTS}'")).1;
    assert_eq!(after, complaints, "{}", guest.sh("dmesg"));
    guest.sh("umount /system /fixed");
    let vm = guest.power_off();
    check_ext4(&vm.path("disk"));
    check_ext4(&vm.path("pmem"));
    assert_eq!(read_ext4(&vm.path("disk"), "written"), "once\ntwice\n");
    assert_eq!(read_ext4(&vm.path("pmem"), "written"), "once\ntwice\n");
    let open = fs::read_to_string(vm.path("shared/open")).unwrap();
    assert_eq!(open, "before\nonce\ntwice\n");
    let console = fs::read_to_string(vm.path("console")).unwrap();
    assert_eq!(console.replace('\r', ""), "before\nonce\ntwice\n");
}

#[test]
fn linux_with_acpi_gets_new_random_numbers_when_it_goes_on() {
    if no_kvm() {
        return;
    }
    let mut guest = Machine::with(1, 128, "", &[]).boot();
    let reseeded = "dmesg | grep -c 'crng reseeded due to virtual machine fork'";
    assert_eq!(guest.try_sh(reseeded).1.trim(), "0");
    let mut guest = guest.move_on(SnapshotType::Full, |_| {});
    await_that("Linux notices", || guest.try_sh(reseeded).1.trim() == "1");
    drop(guest.power_off());
}

fn count_of(guest: &mut Guest) -> usize {
    guest.sh("wc -l < /tmp/count").trim().parse().unwrap()
}

/// Every device does what it is for.
fn check(guest: &mut Guest, word: &str) {
    let said = guest.sh(&format!(
        "echo {word} >&5
        echo {word} >> /system/written
        echo {word} >> /fixed/written
        sync
        cmp /bin/busybox /system/large
        echo {word} > /dev/hvc0
        head -c 16 /dev/hwrng | wc -c
        grep -c ^processor /proc/cpuinfo
        cat /sys/class/net/eth0/carrier"
    ));
    assert_eq!(said, "16\n2\n1\n");
    let statistics = guest.client.balloon_statistics().unwrap();
    assert_eq!((statistics.actual_mib, statistics.target_mib), (8, 8));
}

/// The guest answers on vsock: nobody listens there, and it says so.
fn answers(socket: &std::path::Path) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"CONNECT 6000\n").unwrap();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
}
