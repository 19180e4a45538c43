//! Formatting, clippy with warnings as errors, and the licences of all dependencies.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::{paths, process};

/// Licences that code under Apache-2.0 may be linked with.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
}

/// The workspace, and those of programs that are built in another way.
const WORKSPACES: &[&str] = &["Cargo.toml", "bench/guest/Cargo.toml", "fuzz/Cargo.toml"];

pub(crate) fn run() -> Result<()> {
    for manifest in WORKSPACES {
        println!("Checking the formatting of {manifest}");
        process::run(&mut cargo(&["fmt", "--all", "--check"], manifest))?;
        println!("Checking the licences of all dependencies of {manifest}");
        licences(manifest)?;
    }
    println!("Running clippy");
    let mut clippy = cargo(
        &["clippy", "--workspace", "--all-targets", "--quiet"],
        "Cargo.toml",
    );
    process::run(clippy.args(["--", "-D", "warnings"]))?;
    println!("Running clippy on what is fuzzed");
    // The flag that fuzz targets are built with; another directory, for everything depends on it.
    let mut clippy = cargo(&["clippy", "--all-targets", "--quiet"], "fuzz/Cargo.toml");
    clippy
        .env("RUSTFLAGS", "--cfg fuzzing")
        .env("CARGO_TARGET_DIR", paths::target().join("fuzz/lint"));
    process::run(clippy.args(["--", "-D", "warnings"]))
}

/// A command of cargo for one of the workspaces.
fn cargo(args: &[&str], manifest: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(args).arg("--manifest-path");
    command.arg(paths::root().join(manifest));
    command
}

fn licences(manifest: &str) -> Result<()> {
    let json = process::output(
        cargo(&["metadata", "--format-version=1"], manifest)
            .arg("--filter-platform=x86_64-unknown-linux-gnu"),
    )?;
    let metadata: Metadata = serde_json::from_str(&json).context("cargo metadata is not JSON")?;
    let refused: Vec<String> = metadata
        .packages
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(acceptable))
        .map(|package| {
            let licence = package.license.as_deref().unwrap_or("no licence");
            format!("  {} {}: {licence}", package.name, package.version)
        })
        .collect();
    if !refused.is_empty() {
        bail!(
            "these dependencies cannot be part of an Apache-2.0 project:\n{}",
            refused.join("\n")
        );
    }
    println!(
        "{} packages, all under licences that fit",
        metadata.packages.len()
    );
    Ok(())
}

/// Whether an SPDX expression can be satisfied by allowed licences alone.
fn acceptable(expression: &str) -> bool {
    Expression::parse_mode(expression, ParseMode::LAX).is_ok_and(|expression| {
        expression.evaluate(|requirement| ALLOWED.contains(&requirement.to_string().as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::acceptable;

    #[test]
    fn one_alternative_is_enough_but_every_part_of_it_counts() {
        assert!(acceptable("MIT"));
        assert!(acceptable("MIT/Apache-2.0"));
        assert!(acceptable("GPL-2.0 OR MIT"));
        assert!(acceptable("(MIT OR GPL-2.0) AND Unicode-3.0"));
        assert!(acceptable("Apache-2.0 WITH LLVM-exception OR GPL-2.0"));
        assert!(!acceptable("GPL-2.0"));
        assert!(!acceptable("MIT AND GPL-2.0"));
        assert!(!acceptable("(GPL-2.0 OR LGPL-2.1) AND MIT"));
        assert!(!acceptable(""));
    }
}
