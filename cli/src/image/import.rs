//! `hull image import`.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use hull_image::{ImportOptions, Platform, Reference, registry};

use super::store;
use crate::context::Context;
use crate::out;

/// Make an image of a root file system in a tar archive
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    mmdebstrap bookworm - | hull image import - debian:mine\n  \
    hull image import rootfs.tar.gz app -c 'CMD [\"/app\"]' -c 'ENV A=1'\n  \
    hull image import http://files.example/rootfs.tar.zst app:2\n\n\
    The archive may be compressed with gzip or zstd.")]
pub(crate) struct ImportArgs {
    /// A file, an address of http or https, or - for standard input
    #[arg(value_name = "FILE|URL|-")]
    source: String,
    /// The name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<Reference>,
    /// An instruction of a Dockerfile to apply, such as CMD, ENV or USER
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What the image's history says
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// What the image runs on, such as linux/amd64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
}

pub(super) async fn run(args: ImportArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let is_remote = ["http://", "https://"]
        .iter()
        .any(|scheme| args.source.starts_with(scheme));
    let root: Box<dyn Read + Send> = if is_remote {
        let config = registry::Config::from_env()?;
        Box::new(registry::remote(&args.source, &config).await?)
    } else if args.source != "-" {
        let file = File::open(&args.source);
        Box::new(file.with_context(|| format!("cannot open {}", args.source))?)
    } else if std::io::stdin().is_terminal() {
        bail!("there is nothing to import: name a file, or pipe an archive in")
    } else {
        Box::new(std::io::stdin())
    };
    let options = ImportOptions {
        name: args.name,
        message: args.message,
        // As with Docker, which only sees a stream of a file's bytes.
        source: if is_remote {
            args.source
        } else {
            "-".to_owned()
        },
        changes: args.change,
        platform: args.platform,
    };
    let id = store(ctx)?.import(root, options).await?;
    out::line(&id.to_string())?;
    Ok(ExitCode::SUCCESS)
}
