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

/// The file is there as a whole or not at all, unless it is a pipe or a device.
async fn to_file(
    mut archive: impl Stream<Item = anyhow::Result<bytes::Bytes>> + Unpin,
    path: &Path,
) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        let file = std::fs::File::options().write(true).open(path);
        let mut file = file.with_context(failed)?;
        while let Some(piece) = archive.try_next().await? {
            file.write_all(&piece).with_context(failed)?;
        }
        return Ok(());
    }
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(dir).with_context(failed)?;
    while let Some(piece) = archive.try_next().await? {
        file.write_all(&piece).with_context(failed)?;
    }
    file.persist(path).with_context(failed)?;
    Ok(())
}
