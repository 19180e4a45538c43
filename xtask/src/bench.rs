//! Builds everything optimised and measures it beside its peers.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{images, install, paths, process};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Passed on to `hull-bench`; see its `--help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// No operating system beneath it: at a fixed address, without a C library, where its own script puts it.
const GUEST_FLAGS: &[&str] = &[
    "-Crelocation-model=static",
    "-Ctarget-cpu=x86-64",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-Wl,--build-id=none",
    "-Clink-arg=-Tlink.ld",
];

pub(crate) fn run(args: &Args) -> Result<()> {
    install::build()?;
    images::run(&images::Args::default())?;
    guest()?;
    process::run(Command::new("cargo").args(["build", "--release", "--package", "hull-bench"]))?;
    process::run(Command::new(paths::target().join("release/hull-bench")).args(&args.rest))
}

/// Builds the guest that drives devices by itself, into `target/bench`.
fn guest() -> Result<()> {
    let folder = paths::target().join("bench");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(paths::root().join("bench/guest"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(folder.join("build"))
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", GUEST_FLAGS.join("\x1f"));
    process::run(&mut cargo).context("cannot build the guest of the benchmarks")?;
    let built = folder
        .join("build")
        .join(TARGET)
        .join("release/hull-bench-guest");
    fs::copy(&built, folder.join("hull-bench-guest"))
        .with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(())
}
