//! Files as memory of the guest: a file system on them needs no page cache of its own.

use std::fs;

use serde_json::json;

use crate::common::no_kvm;
use crate::files::{check_ext4, ext4, read_ext4};
use crate::shell::Machine;

#[test]
fn file_systems_are_mounted_from_memory_of_one_file_and_of_several() {
    if no_kvm() {
        return;
    }
    let machine = Machine::new(1, 128);
    let content = machine.path("content");
    fs::create_dir(&content).unwrap();
    let text: String = (0..100_000).map(|line| format!("{line}\n")).collect();
    fs::write(content.join("text"), &text).unwrap();
    let (whole, written) = (machine.path("whole"), machine.path("written"));
    ext4(&whole, 16, &content);
    ext4(&written, 16, &content);
    // The parts are of no particular sizes, but whole pages, so that each begins where the one before ends.
    let image = fs::read(&whole).unwrap();
    let (first, rest) = image.split_at(5 * 4096);
    let (second, third) = rest.split_at(1 << 20);
    let parts = [("first", first), ("second", second), ("third", third)];
    let parts = parts.map(|(name, bytes)| {
        fs::write(machine.path(name), bytes).unwrap();
        machine.path(name)
    });
    let pmem = json!([
        { "id": "parts", "parts": parts, "read_only": true },
        { "id": "written", "path_on_host": written },
    ]);
    let mut guest = machine.set("/pmem", pmem).boot();
    let mounted = guest.sh("
        mkdir /fixed /written
        mount -t ext4 -o ro,dax=always /dev/pmem0 /fixed
        mount -t ext4 -o dax=always /dev/pmem1 /written
        grep -c dax=always /proc/mounts
        cmp /fixed/text /written/text && wc -c </fixed/text
    ");
    assert_eq!(mounted, format!("2\n{}\n", text.len()));
    // The guest has no second copy of what it reads.
    let cached = "awk '/^Cached/ { print $2 }' /proc/meminfo";
    let before: u64 = guest.sh(cached).trim().parse().unwrap();
    guest.sh("cat /fixed/text >/dev/null");
    let after: u64 = guest.sh(cached).trim().parse().unwrap();
    assert!(after < before + 256, "{before} KiB, {after} KiB");

    guest.sh("
        echo some words >/written/words
        dd if=/fixed/text of=/written/part bs=50000 count=1 2>/dev/null
        sync
    ");
    assert_eq!(read_ext4(&written, "words"), "some words\n");
    assert!(read_ext4(&written, "part") == text[..50_000]);
    // There is no word for memory that cannot be written. What is written to it all the same is lost, and nothing else happens.
    guest.sh("
        umount /fixed
        dd if=/dev/zero of=/dev/pmem0 bs=4096 count=2 conv=fsync 2>/dev/null
        mount -t ext4 -o ro,dax=always /dev/pmem0 /fixed
        umount /written /fixed
    ");
    let _vm = guest.power_off();
    check_ext4(&written);
    assert!(fs::read(&parts[0]).unwrap() == first);
}
