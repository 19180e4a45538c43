//! Where chores read and write.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("/"))
}

/// Cargo's target directory for this checkout.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// `vmlinux` and `initramfs.cpio`, where a `hull` built in this checkout looks for them:
/// `HULL_GUEST_DIR`, or `target/guest`.
pub(crate) fn guest() -> PathBuf {
    env::var_os("HULL_GUEST_DIR").map_or_else(|| target().join("guest"), PathBuf::from)
}

/// Results that are worth keeping across checkouts, named by the hash of their inputs:
/// `HULL_CACHE`, or `hull` in the user's cache directory.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HULL_CACHE") {
        return Ok(path.into());
    }
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither HULL_CACHE, XDG_CACHE_HOME nor HOME is set: set one of them")?;
    Ok(base.join("hull"))
}
