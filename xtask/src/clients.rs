//! `cargo xtask clients`: what others wrote and the tests drive Hull with: docker-py, a client library of Firecracker's API, and schemathesis.
//!
//! They are Python packages, in a virtual environment in the cache that is named by the hash of their list, with a link to it at
//! `target/clients`. `resources/clients/requirements.txt` has all of them with their versions and hashes;
//! `requirements.in`, from which `pip-compile --generate-hashes` makes it, those that are meant.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{paths, process};

/// Debian's, which `xtask/setup` installs.
const PYTHON: &str = "/usr/bin/python3";

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<()> {
    let list = paths::root().join("resources/clients/requirements.txt");
    let mut hash = Sha256::new();
    hash.update(fs::read(&list).with_context(|| format!("cannot read {}", list.display()))?);
    // A virtual environment is of no use to another Python.
    hash.update(process::output(Command::new(PYTHON).arg("--version"))?);
    let key = hex::encode(hash.finalize());
    let clients = paths::cache()?.join("clients");
    fs::create_dir_all(&clients)
        .with_context(|| format!("cannot create the cache {}", clients.display()))?;
    let place = clients.join(key.get(..16).unwrap_or(&key));

    // The environment's programs name its directory, so it is made in place, by one at a time.
    let lock = File::create(place.with_extension("lock"))?;
    lock.lock().context("cannot lock the cache")?;
    let complete = place.join("complete");
    if !complete.is_file() {
        println!("Installing clients of others: {}", place.display());
        process::run(
            Command::new(PYTHON)
                .args(["-m", "venv", "--clear"])
                .arg(&place),
        )?;
        process::run(
            Command::new(place.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check"])
                .args(["--no-deps", "--only-binary", ":all:", "--require-hashes"])
                .arg("--requirement")
                .arg(&list),
        )?;
        File::create(&complete)?;
    }

    let link = paths::target().join("clients");
    if fs::read_link(&link).is_ok_and(|old| old == place) {
        return Ok(());
    }
    let _ = fs::remove_file(&link);
    fs::create_dir_all(paths::target())?;
    symlink(&place, &link).with_context(|| format!("cannot link {}", link.display()))
}
