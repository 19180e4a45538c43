//! `hull export`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use futures_util::{Stream, TryStreamExt as _};

use crate::client::{Daemon, escaped, said};
use crate::complete;
use crate::context::Context;
use crate::out;
use crate::whole::{self, Whole};

/// Write a container's files to an archive
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull export -o web.tar web\n  \
    hull export web | hull import - web:flat        an image of one layer")]
pub(crate) struct Args {
    /// The file to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Its name, its id, or the beginning of that
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    let daemon = Daemon::connect(ctx).await?;
    let archive = daemon.docker().export_container(&escaped(&args.container));
    let archive = std::pin::pin!(archive.map_err(said));
    match &args.output {
        Some(path) => to_file(archive, path).await?,
        None => to_stdout(archive).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn to_stdout(
    mut archive: impl Stream<Item = anyhow::Result<bytes::Bytes>> + Unpin,
) -> anyhow::Result<()> {
    while let Some(piece) = archive.try_next().await? {
        tokio::task::spawn_blocking(move || out::write(&piece)).await??;
    }
    Ok(())
}

async fn to_file(
    mut archive: impl Stream<Item = anyhow::Result<bytes::Bytes>> + Unpin,
    path: &Path,
) -> anyhow::Result<()> {
    let mut file = Whole::create(path)?;
    while let Some(piece) = archive.try_next().await? {
        file.write_all(&piece)
            .with_context(|| whole::failed(path))?;
    }
    file.finish()
}
