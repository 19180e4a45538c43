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

#[test]
fn json_says_the_same_as_the_exit_status() {
    let guest = tempfile::tempdir().unwrap();
    for name in ["vmlinux", "initramfs.cpio"] {
        std::fs::write(guest.path().join(name), "").unwrap();
    }
    let output = doctor(&["--format", "json"], guest.path());
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["ready"], output.status.success(), "{value}");
    let check = |name: &str| {
        let checks = value["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == name)
            .cloned()
            .unwrap()
    };
    assert_eq!(check("guest kernel")["verdict"], "good");
    for name in [
        "KVM",
        "TUN",
        "cgroups",
        "huge pages",
        "memory",
        "disk",
        "mke2fs",
    ] {
        assert!(check(name)["found"].is_string(), "{name}");
    }
}
