//! `cargo xtask agent`: the static agent, and the initramfs that carries it.
//!
//! The build has a target directory of its own, since its flags would otherwise rebuild everything
//! each time; cargo decides whether there is anything to do.

mod cpio;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::paths;
use crate::process;
use cpio::Archive;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Every byte is copied into each guest at boot.
const MAX_SIZE: usize = 2 * 1024 * 1024;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<()> {
    let agent = build()?;
    let content = fs::read(&agent).with_context(|| format!("cannot read {}", agent.display()))?;
    let size = content.len();
    ensure!(
        size <= MAX_SIZE,
        "the agent has {size} bytes; {MAX_SIZE} are allowed"
    );
    let path = paths::guest().join("initramfs.cpio");
    if replace(&path, &initramfs(&content))? {
        println!("agent: {} KiB in {}", size / 1024, path.display());
    }
    Ok(())
}

/// Builds the agent and returns its path.
fn build() -> Result<PathBuf> {
    let directory = paths::target().join("static");
    let root = paths::root();
    // Static and at a fixed address: no loader runs, and nothing is relocated at start. No path of
    // this checkout is in the result.
    let flags = [
        "-Ctarget-feature=+crt-static",
        "-Crelocation-model=static",
        &format!("--remap-path-prefix={}=hull", root.display()),
    ]
    .join("\x1f");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "hull-agent",
            "--profile",
            "agent",
        ])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&directory)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags);
    process::run(&mut cargo).context("cannot build the agent")?;
    Ok(directory.join(TARGET).join("agent/hull-agent"))
}

/// What the kernel unpacks as its first file system.
fn initramfs(agent: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.directory("dev");
    archive.character_device("dev/console", 5, 1);
    archive.directory("proc");
    archive.file("init", 0o755, agent);
    archive.finish()
}

/// Writes `content` to `path`, all or nothing; false if it is there already.
fn replace(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    let directory = path.parent().context("the initramfs needs a directory")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    // Others may run what one user has built, so not with a temporary file's mode.
    let mut builder = tempfile::Builder::new();
    let written = builder
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(directory)
        .and_then(|file| {
            fs::write(file.path(), content)?;
            file.persist(path).map_err(|error| error.error)
        });
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}
