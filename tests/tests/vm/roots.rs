//! What a guest boots from, and what it says where.

use std::fs;
use std::process::Command;

use hull_tests::{Home, kvm, programs};

use super::guest::{ext4, tree};
use super::{assert_none_left, json};

#[test]
fn the_root_is_found_in_its_partition_and_the_serial_port_says_so() {
    if !kvm() {
        return;
    }
    let home = Home::new();
    let script = "busybox cat /proc/cmdline; busybox grep ' / ' /proc/mounts; busybox touch /new || echo writing is refused; echo x >/dev/vda || echo to the disk, too; read -r word; echo \"heard $word\"";
    let tree = tree(&home, script);
    let disk = ext4(&home, "disk", Some(&tree), true);
    let before = fs::read(&disk).expect("the disk");
    let run = [
        "vm",
        "run",
        "--console",
        "serial",
        "-m",
        "128m",
        "--cmdline",
        "quiet",
    ];
    let disk_ro = format!("{disk}:ro");
    let mut here = home.start(&[&run[..], &["--disk", &disk_ro]].concat());
    here.wait_for("to the disk, too");
    here.write(b"hello\n");
    here.wait_for("heard hello");
    let output = here.finish().success();
    for expected in [
        "root=PARTUUID=1234abcd-01 ro",
        "/dev/root / ext4 ro",
        "writing is refused",
        "to the disk, too",
    ] {
        assert!(output.contains(expected), "{expected:?} in {output}");
    }
    assert!(fs::read(&disk).expect("the disk") == before, "it changed");
    assert_none_left(&home);
}

#[test]
fn a_directory_is_a_root_and_a_guest_without_a_console_is_told_only_what_one_says() {
    if !kvm() {
        return;
    }
    let home = Home::new();
    let tree = tree(&home, "busybox cat /proc/cmdline >/proof");
    let share = format!("{}:tree", tree.display());
    // This host may need words of its own; the others are all that a kernel needs here.
    let probed = Command::new(programs().join("hull-vmm"))
        .arg("probe")
        .output()
        .expect("hull-vmm");
    let profile = json(&String::from_utf8_lossy(&probed.stdout));
    let said = format!(
        "{} acpi=off reboot=k panic=-1 quiet 8250.nr_uarts=0 root=tree rootfstype=virtiofs rw",
        profile["kernel_args"].as_str().expect("words")
    );
    let run = [
        "vm",
        "run",
        "--console",
        "none",
        "-m",
        "128m",
        "--share",
        &share,
    ];
    let raw = ["--raw-cmdline", "--cmdline", &said];
    let ended = home.run(&[&run[..], &raw].concat());
    assert_eq!(ended.success(), "", "it has no console");
    let told = fs::read_to_string(tree.join("proof")).expect("it ran");
    assert!(told.contains(&said), "{told}");
    assert!(!told.contains("console="), "{told}");
    assert_none_left(&home);
}
