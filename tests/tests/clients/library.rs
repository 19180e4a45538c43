//! The library is `firecracker-python`, as it is installed. It starts `/usr/local/bin/firecracker`, keeps its files in
//! `/var/lib/firecracker`, makes TAPs and wants a default route: all of these are there in a mount and a network name space that end
//! with the test.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_tests::process::run;
use hull_tests::{kvm, programs};

use super::client;

/// Prepares the name spaces in the directory `$1` and runs the rest of the arguments there.
const PREPARE: &str = r#"
set -e
cd "$1"
shift
mount -t overlay overlay -o lowerdir="$PWD/bin:/usr/local/bin" /usr/local/bin
mount -t overlay overlay -o lowerdir="$PWD/lib:/var/lib" /var/lib
mount --bind state /var/lib/firecracker
ip link set lo up
ip link add out0 type bridge
ip address add 192.0.2.1/24 dev out0
ip link set out0 up
ip route add default via 192.0.2.2
exec "$@"
"#;

/// Seconds that bound a hang. The library's kernel arguments have the whole log written to the serial port, byte by byte, which
/// takes a kernel that is interpreted several times as long as a quiet boot.
const PATIENCE: &str = "900";

const KERNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guest/vmlinux");

#[test]
fn a_firecracker_client_library_drives_a_microvm() {
    if !kvm() {
        return;
    }
    let dir = tempfile::Builder::new()
        .prefix("hull-test-")
        .tempdir()
        .expect("a directory");
    let at = |name: &str| dir.path().join(name);
    for name in ["bin", "lib/firecracker", "state", "program"] {
        fs::create_dir_all(at(name)).expect("a directory");
    }
    install(dir.path());
    let root = root_disk(dir.path());
    for (name, size) in [("data", 1 << 20), ("larger", 3 << 20)] {
        let file = File::create(at(name)).expect("a file");
        file.set_len(size).expect("a size");
    }
    let output = Command::new("timeout")
        .args([PATIENCE, "unshare", "--net", "--mount", "--pid", "--fork"])
        .args([
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            PREPARE,
            "prepare",
        ])
        .arg(dir.path())
        .arg(client("python"))
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/clients/drive.py"
        ))
        .arg(fs::canonicalize(KERNEL).expect("make the kernel with `make kernel`"))
        .args([root, at("data"), at("larger")])
        .output()
        .expect("timeout and unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.ends_with("done\n"),
        "{said}\n{}\nits log: {}",
        String::from_utf8_lossy(&output.stderr),
        logs(&at("state"))
    );
}

/// Puts `hull-vmm` where the library starts `firecracker`. Where the host's KVM interprets guest kernels, it has to tell them so.
fn install(dir: &Path) {
    let program = dir.join("program/firecracker");
    let vmm = fs::canonicalize(programs().join("hull-vmm")).expect("build hull-vmm first");
    symlink(vmm, &program).expect("a link");
    let script = format!("#!/bin/sh\nexec {} --host-args \"$@\"\n", program.display());
    let path = dir.join("bin/firecracker");
    fs::write(&path, script).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// An ext4 disk with the guest's one program.
fn root_disk(dir: &Path) -> PathBuf {
    let tree = dir.join("tree");
    for name in ["sbin", "dev"] {
        fs::create_dir_all(tree.join(name)).expect("a directory");
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/init.c");
    let _ = run(Command::new("gcc")
        .args(["-static", "-O2", "-Wall", "-Werror", "-o"])
        .arg(tree.join("sbin/init"))
        .arg(source))
    .success();
    let disk = dir.join("root.ext4");
    let _ = run(Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
        .args([&tree, &disk])
        .arg("8M"))
    .success();
    disk
}

/// What the microVM and the VMM said, if the library has left it.
fn logs(state: &Path) -> String {
    let machines = fs::read_dir(state).into_iter().flatten().flatten();
    let logs = machines.flat_map(|machine| {
        let place = machine.path();
        let more = fs::read_dir(place.join("logs"))
            .into_iter()
            .flatten()
            .flatten();
        let paths = more.map(|log| log.path()).collect::<Vec<_>>();
        paths.into_iter().chain([place.join("firecracker.log")])
    });
    logs.filter_map(|log| fs::read_to_string(log).ok())
        .collect()
}
