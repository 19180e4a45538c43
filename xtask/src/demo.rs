//! `make run`: builds everything and prints from inside a microVM.

use std::process::Command;

use anyhow::Result;

use crate::{images, install, paths, process};

/// What the container prints: where it runs, and what it sees.
const SCRIPT: &str = r#"
echo "Hello from a container in a microVM of its own."
echo "  kernel   $(uname -sr), booted by Hull on /dev/kvm"
echo "  memory   $(awk '/MemTotal/ {print int($2 / 1024) " MiB"}' /proc/meminfo)"
echo "  CPUs     $(grep -c ^processor /proc/cpuinfo)"
echo "  process  $(id -un), process $$ of its own namespace"
echo "  files    $(echo /*)"
"#;

pub(crate) fn run() -> Result<()> {
    install::build()?;
    images::run(&images::Args::only("busybox"))?;

    let hull = paths::target().join("release/hull");
    let layout = paths::target().join("images/busybox");
    process::run(
        Command::new(&hull)
            .args(["image", "load", "--quiet", "--input"])
            .arg(&layout),
    )?;
    println!("\n$ hull run --rm busybox sh -c ...");
    process::run(Command::new(&hull).args(["run", "--rm", "busybox", "sh", "-c", SCRIPT]))
}
