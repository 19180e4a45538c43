//! How the guest kernel is built.

use std::fs;
use std::process::{Command, Stdio};

#[test]
#[ignore = "builds a kernel: 13 minutes of CPU time"]
fn the_same_inputs_give_the_same_bytes() {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let build = |cache: Option<&str>, output: &str| {
        let output = elsewhere.path().join(output);
        let mut xtask = Command::new("cargo");
        xtask.args(["xtask", "kernel", "--output"]).arg(&output);
        if let Some(cache) = cache {
            xtask.env("HULL_CACHE", elsewhere.path().join(cache));
        }
        xtask.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let made = xtask.stdout(Stdio::null()).status().expect("cargo");
        assert!(made.success(), "{made}");
        fs::read(output.join("vmlinux")).expect("a kernel")
    };
    let cached = build(None, "cached");
    let anew = build(Some("cache"), "anew");
    assert_eq!(cached.len(), anew.len());
    let differing = cached
        .iter()
        .zip(&anew)
        .position(|(one, other)| one != other);
    assert_eq!(differing, None, "the first byte that differs");
}
