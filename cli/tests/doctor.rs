//! `hull doctor` as a person and as a program see it.

use std::path::Path;
use std::process::{Command, Output};

/// Runs it with guest files from `guest` and a directory of its own.
fn doctor(args: &[&str], guest: &Path) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_hull"))
        .arg("doctor")
        .args(args)
        .env("HULL_GUEST_DIR", guest)
        .env("HULL_ROOT", home.path().join("root"))
        .env("HULL_RUN", home.path().join("run"))
        .output()
        .unwrap()
}

#[test]
fn a_host_without_the_guest_s_files_is_not_ready() {
    let output = doctor(&[], Path::new("/nowhere"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = text
        .lines()
        .find(|line| line.contains("guest kernel  "))
        .unwrap();
    assert!(line.starts_with('✗') && line.contains("/nowhere"), "{text}");
    assert!(text.contains("→"), "{text}");
    // No colours where there is no terminal.
    assert!(!text.contains('\x1b'), "{text}");
}

/// The smallest files that pass for a kernel and an initramfs.
fn plausible_guest() -> tempfile::TempDir {
    let guest = tempfile::tempdir().unwrap();
    let mut kernel = vec![0; 1024];
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    std::fs::write(guest.path().join("vmlinux"), kernel).unwrap();
    std::fs::write(guest.path().join("initramfs.cpio"), "070701...TRAILER!!!").unwrap();
    guest
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn check(value: &serde_json::Value, name: &str) -> serde_json::Value {
    let checks = value["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {value}"))
        .clone()
}

#[test]
fn json_says_the_same_as_the_exit_status() {
    let guest = plausible_guest();
    let output = doctor(&["--format", "json"], guest.path());
    let value = json(&output);
    assert_eq!(value["ready"], output.status.success(), "{value}");
    for name in [
        "guest kernel",
        "guest initramfs",
        "state directory",
        "runtime directory",
    ] {
        assert_eq!(check(&value, name)["verdict"], "good", "{value}");
    }
    for name in [
        "KVM",
        "TUN",
        "cgroups",
        "huge pages",
        "memory",
        "disk",
        "mke2fs",
    ] {
        assert!(check(&value, name)["found"].is_string(), "{name}");
    }
}

#[test]
fn files_that_are_no_kernel_and_no_initramfs_are_not_ready() {
    let guest = plausible_guest();
    for name in ["vmlinux", "initramfs.cpio"] {
        std::fs::write(guest.path().join(name), "").unwrap();
    }
    let output = doctor(&["--format", "json"], guest.path());
    assert_eq!(output.status.code(), Some(1));
    let value = json(&output);
    for (name, words) in [("guest kernel", "bzImage"), ("guest initramfs", "cpio")] {
        let check = check(&value, name);
        assert_eq!(check["verdict"], "bad", "{value}");
        assert!(check["found"].as_str().unwrap().contains(words), "{value}");
        assert!(check["advice"].is_string(), "{value}");
    }
}

#[test]
fn directories_that_cannot_be_used_are_not_ready() {
    let guest = plausible_guest();
    let home = tempfile::tempdir().unwrap();
    let long = home.path().join("r".repeat(100));
    for (root, run, name, words) in [
        (
            Path::new("/proc/hull"),
            home.path(),
            "state directory",
            "/proc",
        ),
        (
            home.path(),
            Path::new("/proc/hull"),
            "runtime directory",
            "/proc",
        ),
        (home.path(), &long, "runtime directory", "too long"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_hull"))
            .args(["doctor", "--format", "json"])
            .env("HULL_GUEST_DIR", guest.path())
            .env("HULL_ROOT", root)
            .env("HULL_RUN", run)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        let check = check(&json(&output), name);
        assert_eq!(check["verdict"], "bad", "{check}");
        assert!(check["found"].as_str().unwrap().contains(words), "{check}");
    }
}
