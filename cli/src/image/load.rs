//! `hull image load`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use hull_image::{Input, LoadOptions, Platform, Reference};

use super::progress::{self, Way};
use super::store;
use crate::context::Context;
use crate::out;

/// Load images from an archive or an OCI layout
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    docker save app | hull image load               from Docker, by a pipe\n  \
    hull image load -i app.tar.gz                   an archive of docker save, or an OCI archive\n  \
    hull image load -i layout/                      a directory with an OCI layout\n  \
    hull image load -i layout/ --tag app:2          an image that has no name of its own\n\n\
    Archives may be compressed with gzip or zstd. Nothing is stored if anything in the input is wrong.")]
pub(crate) struct LoadArgs {
    /// The archive or directory to read instead of standard input
    #[arg(short, long, value_name = "PATH")]
    input: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// The platform to take where there is a choice, such as linux/amd64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// The name to give to the image of the input
    #[arg(long, value_name = "NAME[:TAG]")]
    tag: Option<Reference>,
}

pub(super) async fn run(args: LoadArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let input = match args.input {
        Some(path) if path.as_os_str() != "-" => Input::Path(path),
        _ if std::io::stdin().is_terminal() => {
            bail!("there is nothing to load: name a file with --input, or pipe an archive in")
        }
        _ => Input::Stream(Box::new(std::io::stdin())),
    };
    let options = LoadOptions {
        platform: args.platform,
        name: args.tag,
    };
    let progress = progress::choose(args.quiet, Way::In);
    let loaded = store(ctx)?.load(input, &options, progress).await?;
    for image in loaded {
        for name in &image.names {
            out::line(&format!("Loaded image: {}", name.familiar()))?;
        }
        if image.names.is_empty() {
            out::line(&format!("Loaded image ID: {}", image.id))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
