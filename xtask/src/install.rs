//! Installs Hull below a prefix: `bin/hull`, `libexec/hull/hull-vmm`, `lib/hull/{vmlinux,initramfs.cpio}`, manual pages and completions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{agent, kernel, man, paths, process};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to install
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    build()?;
    let release = paths::target().join("release");
    let guest = paths::guest();
    man::write(&release.join("hull"))?;
    let completions = tempfile::tempdir()?;
    let mut files = Vec::new();
    for (shell, to) in [
        ("bash", "share/bash-completion/completions/hull"),
        ("zsh", "share/zsh/site-functions/_hull"),
        ("fish", "share/fish/vendor_completions.d/hull.fish"),
    ] {
        let script =
            process::output(Command::new(release.join("hull")).args(["completion", shell]))?;
        let from = completions.path().join(shell);
        fs::write(&from, script)?;
        files.push((from, to.to_owned(), 0o644));
    }
    for page in fs::read_dir(man::place())? {
        let page = page?;
        let to = format!("share/man/man1/{}", page.file_name().to_string_lossy());
        files.push((page.path(), to, 0o644));
    }
    files.extend([
        (release.join("hull"), "bin/hull".to_owned(), 0o755),
        (
            release.join("hull-vmm"),
            "libexec/hull/hull-vmm".to_owned(),
            0o755,
        ),
        (guest.join("vmlinux"), "lib/hull/vmlinux".to_owned(), 0o644),
        (
            guest.join("initramfs.cpio"),
            "lib/hull/initramfs.cpio".to_owned(),
            0o644,
        ),
    ]);
    for (from, to, mode) in files {
        let to = args.prefix.join(to);
        place(&from, &to, mode)
            .with_context(|| format!("cannot install {}: may you write there?", to.display()))?;
        println!("installed {}", to.display());
    }
    Ok(())
}

/// Builds everything that a user of Hull runs, optimised.
pub(crate) fn build() -> Result<()> {
    kernel::run(&kernel::Args::default())?;
    agent::run(&agent::Args::default())?;
    println!("Building hull and hull-vmm");
    process::run(Command::new("cargo").args([
        "build",
        "--release",
        "--package",
        "hull",
        "--package",
        "hull-vmm",
    ]))
}

/// Copies beside the destination first and renames, so that a running Hull never sees half a file.
fn place(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let dir = to.parent().context("the destination has no directory")?;
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    std::io::copy(&mut fs::File::open(from)?, &mut file)?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(mode))?;
    file.persist(to)?;
    Ok(())
}
