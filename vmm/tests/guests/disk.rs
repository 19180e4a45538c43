//! Disks: a file system on one, room that is given back, and changes while it is used.

use std::fs;
use std::path::Path;

use hull_vm_api::config::{DriveUpdate, HostPath};
use serde_json::json;

use crate::common::no_kvm;
use crate::files::{allocated, check_ext4, ext4, read_ext4};
use crate::shell::{Guest, Machine};

const MIB: usize = 1 << 20;

/// Has /dev/vda with an ext4, /dev/vdb with bytes, and /dev/vdc, which is read-only.
fn machine() -> Machine {
    let machine = Machine::new(2, 128).programs_of_the_host();
    let [system, bytes, fixed] = ["system", "bytes", "fixed"].map(|name| machine.path(name));
    let content = machine.path("content");
    fs::create_dir(&content).unwrap();
    fs::write(content.join("given"), "by the host\n").unwrap();
    ext4(&system, 32, &content);
    fs::write(&bytes, vec![b'b'; 8 * MIB]).unwrap();
    fs::write(&fixed, vec![b'f'; MIB]).unwrap();
    machine.set(
        "/drives",
        json!([
            { "drive_id": "system", "path_on_host": system, "is_root_device": false, "io_engine": "Async",
              "queues": 2, "cache_type": "Writeback", "serial": "HULL 0001" },
            { "drive_id": "bytes", "path_on_host": bytes, "is_root_device": false, "io_engine": "Sync" },
            { "drive_id": "fixed", "path_on_host": fixed, "is_root_device": false, "is_read_only": true },
        ]),
    )
}

#[test]
fn linux_uses_disks_gives_room_back_and_notices_changes() {
    if no_kvm() {
        return;
    }
    let mut guest = machine().boot();
    guest.sh("mkdir /system; mount -t virtiofs usr /usr");
    let what_it_is = "cd /sys/block; cat */serial */ro; echo $(ls vda/mq) $(ls vdb/mq)";
    let found = guest.sh(what_it_is);
    assert_eq!(found, "HULL 0001bytesfixed0\n0\n1\n0 1 0\n");
    file_system(&mut guest);
    trim(&mut guest);
    discard_and_zeroes(&mut guest);
    changes(&mut guest);
    is_read_only(&mut guest);
    let vm = guest.power_off();
    check_ext4(&vm.path("system"));
}

/// What is written is there after it was unmounted, in the guest and on the host.
fn file_system(guest: &mut Guest) {
    let written = guest.sh("
        mount /dev/vda /system
        cat /system/given
        cp /bin/busybox /system/large
        mkdir /system/many
        for name in 1 2 3 4 5 6 7 8 9 10; do echo $name >/system/many/$name; done
        echo durable >/system/synced
        sync
    ");
    assert_eq!(written, "by the host\n");
    // What was synced is in the file, although the guest still has it mounted.
    assert_eq!(read_ext4(&guest.path("system"), "synced"), "durable\n");
    let read = guest.sh("
        umount /system
        mount /dev/vda /system
        cmp /bin/busybox /system/large
        cat /system/many/*
    ");
    assert_eq!(read.lines().count(), 10, "{read}");
}

/// What a file system has no use for goes back to the host.
fn trim(guest: &mut Guest) {
    let system = guest.path("system");
    guest.sh("rm /system/large; sync");
    let before = allocated(&system);
    guest.sh("fstrim /system");
    let after = allocated(&system);
    let large = fs::metadata("/bin/busybox").unwrap().len();
    assert!(before - after >= large / 4096 * 4096, "{before} {after}");
    guest.sh("umount /system");
}

/// Ranges are given back, or become zeros, and nothing else changes.
fn discard_and_zeroes(guest: &mut Guest) {
    let bytes = guest.path("bytes");
    let before = allocated(&bytes);
    guest.sh("blkdiscard -o 1048576 -l 2097152 /dev/vdb");
    assert!(before - allocated(&bytes) >= 2 * MIB as u64);
    guest.sh("/usr/sbin/blkdiscard -z -o 4194304 -l 1048576 /dev/vdb");
    let mut expected = vec![b'b'; 8 * MIB];
    expected[MIB..3 * MIB].fill(0);
    expected[4 * MIB..5 * MIB].fill(0);
    assert!(fs::read(&bytes).unwrap() == expected);
    let read = guest.sh("
        blockdev --flushbufs /dev/vdb
        dd if=/dev/vdb bs=1M skip=4 count=1 2>/dev/null | tr -d '\\000' | wc -c
        dd if=/dev/vdb bs=1M skip=5 count=1 2>/dev/null | tr -d b | wc -c
    ");
    assert_eq!(read, "0\n0\n");
}

/// The file grows, and another one takes its place.
fn changes(guest: &mut Guest) {
    let (bytes, other) = (guest.path("bytes"), guest.path("other"));
    let patch = |guest: &Guest, path: &Path| {
        let update = DriveUpdate {
            drive_id: "bytes".to_owned(),
            path_on_host: Some(HostPath::try_from(path).unwrap()),
            rate_limiter: None,
        };
        guest.client.patch_drive(&update).unwrap();
    };
    let has_size = |guest: &mut Guest, mib: usize| {
        let sectors = mib * MIB / 512;
        guest.sh(&format!(
            "until [ $(cat /sys/block/vdb/size) = {sectors} ]; do :; done"
        ));
    };
    let file = fs::File::options().append(true).open(&bytes).unwrap();
    std::io::Write::write_all(&mut &file, &vec![b'c'; 2 * MIB]).unwrap();
    patch(guest, &bytes);
    has_size(guest, 10);
    assert_eq!(guest.sh("tail -c 5 /dev/vdb"), "ccccc");
    // Written while it grew, and there afterwards.
    guest.sh("printf end | dd of=/dev/vdb bs=1 seek=10485757 conv=fsync 2>/dev/null");
    assert!(fs::read(&bytes).unwrap().ends_with(b"cccend"));

    fs::write(&other, vec![b'o'; 3 * MIB]).unwrap();
    patch(guest, &other);
    has_size(guest, 3);
    let read = "blockdev --flushbufs /dev/vdb; head -c 3 /dev/vdb; tail -c 3 /dev/vdb";
    assert_eq!(guest.sh(read), "oooooo");
    guest.sh("printf new | dd of=/dev/vdb conv=fsync,notrunc 2>/dev/null");
    assert!(fs::read(&other).unwrap().starts_with(b"newooo"));
    assert!(fs::read(&bytes).unwrap().starts_with(b"bbb"));
}

/// Nothing that the guest does changes it.
fn is_read_only(guest: &mut Guest) {
    let refused = guest.sh("
        head -c 3 /dev/vdc
        for mode in --setro --setrw; do
            blockdev $mode /dev/vdc || true
            echo x | dd of=/dev/vdc conv=fsync && echo wrote
            blkdiscard /dev/vdc && echo discarded
        done 2>/dev/null
    ");
    assert_eq!(refused, "fff");
    assert!(fs::read(guest.path("fixed")).unwrap() == vec![b'f'; MIB]);
}
