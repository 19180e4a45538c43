//! The build itself: unpack, patch, configure, compile, strip, keep.
//!
//! It happens in a directory of its own below the cache, relative to which all names in the kernel are, with an
//! environment that holds nothing of the caller's: so the result depends on the inputs alone.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::fragment;
use super::inputs::Inputs;

/// How many steps make prints for this configuration, roughly; it only scales the progress bar.
const STEPS: u64 = 1750;

/// Directories without what is built here, which are half of the sources: unpacking and removing them takes minutes on some disks.
/// All that stays of them is what make and Kconfig read.
const UNUSED: [&str; 22] = [
    "arch/[a-tv-w]*",
    "Documentation",
    "drivers/gpu/drm",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/media",
    "drivers/mtd",
    "drivers/net/dsa",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/pinctrl",
    "drivers/scsi",
    "drivers/staging",
    "drivers/usb",
    "samples",
    "sound",
    "tools/perf",
    "tools/testing",
    "fs/bcachefs",
    "fs/btrfs",
    "fs/ocfs2",
    "fs/xfs",
];

/// The names of files in them that nothing reads.
const UNREAD: [&str; 10] = [
    "*.[chS]",
    "*.dts*",
    "*.rst",
    "*.txt",
    "*.json",
    "*.yaml",
    "*.sh",
    "*.py",
    "*.svg",
    "*defconfig",
];

/// How many lines of the log an error shows.
const LOG_TAIL: usize = 30;

/// Builds `inputs` and leaves `vmlinux`, `config` and `System.map` in the new directory `entry`.
pub(super) fn build(
    inputs: &Inputs,
    jobs: Option<usize>,
    cache: &Path,
    entry: &Path,
) -> Result<()> {
    remove_leftovers(cache)?;
    let dir = tempfile::Builder::new()
        .prefix("build-")
        .tempdir_in(cache)
        .with_context(|| format!("cannot make a directory in {}", cache.display()))?;
    let build = Build {
        tree: dir.path().join("linux"),
        log: cache.join("build.log"),
    };
    File::create(&build.log).with_context(|| format!("cannot write {}", build.log.display()))?;

    println!(
        "Building the guest kernel from {} (some minutes, once)",
        inputs.source.display()
    );
    build.unpack(&inputs.source)?;
    for patch in &inputs.patches {
        build.patch(patch)?;
    }
    build.configure(&inputs.fragment)?;
    build.compile(jobs)?;
    build.keep(&dir.path().join("result"), entry)
}

/// A build that was interrupted leaves its directory; whoever holds the lock knows that nobody uses it.
fn remove_leftovers(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache).with_context(|| format!("cannot list {}", cache.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("build-") {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

struct Build {
    tree: PathBuf,
    log: PathBuf,
}

impl Build {
    fn unpack(&self, tarball: &Path) -> Result<()> {
        let spinner = ProgressBar::new_spinner().with_message("Unpacking");
        spinner.enable_steady_tick(Duration::from_millis(100));
        fs::create_dir(&self.tree)?;
        let tarball = fs::canonicalize(tarball)?;
        self.run(
            self.command("tar")
                .args(["--extract", "--strip-components=1", "--wildcards"])
                .args(UNUSED.iter().flat_map(|directory| {
                    UNREAD.map(|name| format!("--exclude=*/{directory}/{name}"))
                }))
                .arg("--file")
                .arg(&tarball),
        )
        .with_context(|| {
            format!(
                "cannot unpack {}: is it complete, and are 3 GB free?",
                tarball.display()
            )
        })?;
        spinner.finish_and_clear();
        let makefile = fs::read_to_string(self.tree.join("Makefile")).unwrap_or_default();
        let says = |line: &str| makefile.lines().any(|found| found == line);
        if !says("VERSION = 6") || !says("PATCHLEVEL = 12") {
            bail!(
                "{} does not hold the sources of Linux 6.12, for which the configuration and the patches are",
                tarball.display()
            );
        }
        Ok(())
    }

    fn patch(&self, patch: &Path) -> Result<()> {
        self.run(
            self.command("patch")
                .args(["--strip=1", "--batch", "--forward", "--fuzz=0", "--input"])
                .arg(patch),
        )
        .with_context(|| format!("{} does not apply to these sources", patch.display()))
    }

    fn configure(&self, path: &Path) -> Result<()> {
        let mut all = std::ffi::OsString::from("KCONFIG_ALLCONFIG=");
        all.push(path);
        self.run(self.make().arg(all).arg("allnoconfig"))?;
        let wanted = fs::read_to_string(path)?;
        let config = fs::read_to_string(self.tree.join(".config"))?;
        let refused = fragment::refused(&wanted, &config);
        if !refused.is_empty() {
            bail!(
                "Kconfig did not take these lines of {}, for want of a dependency or because the name is wrong:\n  {}",
                path.display(),
                refused.join("\n  ")
            );
        }
        Ok(())
    }

    /// Runs make with a progress bar over the steps that it prints.
    fn compile(&self, jobs: Option<usize>) -> Result<()> {
        let jobs = jobs
            .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
            .unwrap_or(1);
        let bar = ProgressBar::new(STEPS).with_message("Compiling");
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {percent}% {elapsed}") {
            bar.set_style(style.progress_chars("=> "));
        }
        let mut command = self.make();
        command
            .arg(format!("--jobs={jobs}"))
            .arg("vmlinux")
            .stdout(Stdio::piped())
            .stderr(self.append()?);
        let mut child = command.spawn().context("cannot start make")?;
        for _line in child
            .stdout
            .take()
            .map(BufReader::new)
            .into_iter()
            .flat_map(BufRead::lines)
        {
            bar.inc(u64::from(bar.position() < STEPS));
        }
        let status = child.wait()?;
        bar.finish_and_clear();
        if !status.success() {
            bail!("make failed:\n{}", self.tail());
        }
        Ok(())
    }

    /// Moves what is worth keeping to `entry`, complete or not at all.
    fn keep(&self, result: &Path, entry: &Path) -> Result<()> {
        fs::create_dir(result)?;
        self.run(
            self.command("strip")
                .args(["--strip-all", "vmlinux", "-o"])
                .arg(result.join("vmlinux")),
        )?;
        fs::rename(self.tree.join(".config"), result.join("config"))?;
        fs::rename(self.tree.join("System.map"), result.join("System.map"))?;
        fs::rename(result, entry).with_context(|| format!("cannot keep {}", entry.display()))
    }

    /// make with everything fixed that would otherwise come from this machine or this moment.
    fn make(&self) -> Command {
        let mut command = self.command("make");
        command.args([
            "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
            "KBUILD_BUILD_USER=hull",
            "KBUILD_BUILD_HOST=hull",
            "KBUILD_BUILD_VERSION=1",
            // Their versions would be in the configuration, which is in the kernel.
            "RUSTC=none",
            "PAHOLE=none",
        ]);
        command
    }

    /// A program that runs in the tree, with an environment of its own.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(&self.tree);
        for name in ["PATH", "HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        let status = command
            .stdout(self.append()?)
            .stderr(self.append()?)
            .status()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        if !status.success() {
            bail!(
                "{} failed:\n{}",
                command.get_program().to_string_lossy(),
                self.tail()
            );
        }
        Ok(())
    }

    fn append(&self) -> Result<File> {
        File::options()
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))
    }

    /// The end of the log, and where the rest is.
    fn tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LOG_TAIL);
        format!(
            "{}\n(all of it: {})",
            lines[from..].join("\n"),
            self.log.display()
        )
    }
}
