//! `hull man`: a page for each command, from the same words as `--help`. `cargo xtask man` calls it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

/// Write manual pages
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

pub(crate) fn run(args: &Args, command: clap::Command) -> anyhow::Result<ExitCode> {
    let place = &args.directory;
    let written = fs::create_dir_all(place).and_then(|()| clap_mangen::generate_to(command, place));
    written.with_context(|| format!("no pages can be written to {}", place.display()))?;
    Ok(ExitCode::SUCCESS)
}
