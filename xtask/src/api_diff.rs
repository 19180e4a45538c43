//! `cargo xtask api-diff`: what `api/vm/openapi.yaml` says otherwise than Firecracker's description. The test that compares them
//! prints it.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// The test, in the test program `api` of `hull-vm-api`.
const TEST: &str = "openapi::firecracker::differences_are_documented";

pub(crate) fn run() -> Result<()> {
    let output = Command::new("cargo")
        .args([
            "test",
            "--quiet",
            "--package",
            "hull-vm-api",
            "--test",
            "api",
        ])
        .args(["--", "--exact", TEST, "--nocapture"])
        .output()
        .context("cannot start cargo test")?;
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines().filter(|line| {
        let sign = line.split(' ').next().unwrap_or_default();
        ["+", "-", "~"].contains(&sign) || line.ends_with(" differences")
    }) {
        println!("{line}");
    }
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("DIFFERENCES.md is not right:\n{said}\n{complaint}");
    }
    Ok(())
}
