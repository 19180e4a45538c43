//! `cargo xtask man`: a manual page for each of `hull`'s commands, which `hull` writes itself, at `target/man`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{paths, process};

pub(crate) fn run() -> Result<()> {
    process::run(Command::new("cargo").args(["build", "--package", "hull"]))?;
    write(&paths::target().join("debug/hull"))?;
    println!(
        "see {}, for example: man -l {}",
        place().display(),
        place().join("hull-run.1").display()
    );
    Ok(())
}

/// Where they are.
pub(crate) fn place() -> PathBuf {
    paths::target().join("man")
}

/// Has this `hull` write them; none of another one stays.
pub(crate) fn write(hull: &Path) -> Result<()> {
    if place().exists() {
        fs::remove_dir_all(place())?;
    }
    process::run(Command::new(hull).arg("man").arg(place()))
}
