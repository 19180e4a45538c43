//! Builds the guest kernel from Debian's source package, a configuration fragment and a few patches
//! (`resources/kernel`), once per set of inputs: a build is kept in the cache under the hash of all that went
//! into it, and the same inputs give the same bytes.

mod build;
mod fragment;
mod inputs;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::paths;
use inputs::Inputs;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Tarball of the sources of Linux 6.12 [default: that of Debian's package linux-source-6.12]
    #[arg(long, value_name = "TARBALL")]
    source: Option<PathBuf>,

    /// Directory that gets `vmlinux` [default: $HULL_GUEST_DIR, or target/guest]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// How many files to compile at once [default: as many as there are CPUs]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let inputs = Inputs::collect(args.source.as_deref())?;
    let cache = paths::cache()?.join("kernel");
    fs::create_dir_all(&cache).with_context(|| {
        format!(
            "cannot make {}: set HULL_CACHE to a directory that you may write",
            cache.display()
        )
    })?;

    let entry = cache.join(inputs.key()?);
    if !entry.is_dir() {
        // Two builds at once would take twice as long each; the second finds the first one's result.
        let lock = File::create(cache.join("lock")).context("cannot open the lock of the cache")?;
        if lock.try_lock().is_err() {
            println!("Waiting for another build of the guest kernel");
            lock.lock()
                .context("cannot wait for another build of the kernel")?;
        }
        if !entry.is_dir() {
            build::build(&inputs, args.jobs, &cache, &entry)?;
        }
    }

    let output = args.output.clone().unwrap_or_else(paths::guest);
    let vmlinux = output.join("vmlinux");
    if place(&entry.join("vmlinux"), &vmlinux)
        .with_context(|| format!("cannot write {}: may you write there?", vmlinux.display()))?
    {
        println!("The guest kernel is {}", vmlinux.display());
    }
    Ok(())
}

/// Puts a copy of `from` at `to` unless it is there already; says whether it had to.
///
/// A microVM that boots meanwhile reads the old file or the new one, never half of one.
fn place(from: &Path, to: &Path) -> Result<bool> {
    let wanted = fs::read(from)?;
    if fs::read(to).is_ok_and(|present| present == wanted) {
        return Ok(false);
    }
    let dir = to.parent().context("the destination has no directory")?;
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    io::copy(&mut wanted.as_slice(), &mut file)?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
    file.persist(to)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
