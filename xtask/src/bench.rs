//! Builds everything optimised and measures it beside its peers.

use std::process::Command;

use anyhow::Result;

use crate::{images, install, paths, process};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Passed on to `hull-bench`; see its `--help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    install::build()?;
    images::run(&images::Args::default())?;
    process::run(Command::new("cargo").args(["build", "--release", "--package", "hull-bench"]))?;
    process::run(Command::new(paths::target().join("release/hull-bench")).args(&args.rest))
}
