//! `hull image save`.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use hull_image::{Platform, SaveOptions, Store};

use super::store;
use crate::complete;
use crate::context::Context;
use crate::whole::Whole;

/// Bytes that are handed on at once.
const BUFFER: usize = 256 << 10;

/// Write images to an archive that Docker, podman and hull load
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull image save -o app.tar app:2                one image with its name\n  \
    hull image save app | docker load               all tags of a repository, to Docker\n  \
    hull image save -o all.tar app:2 busybox        several; layers that they share are in it once")]
pub(crate) struct SaveArgs {
    /// The file to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The platform that the images must be for, such as linux/amd64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Names, repositories, ids, or beginnings of ids
    #[arg(value_name = "IMAGE", required = true, add = complete::images())]
    images: Vec<String>,
}

pub(super) fn run(args: &SaveArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let store = store(ctx)?;
    match &args.output {
        Some(path) => {
            let mut file = Whole::create(path)?;
            write(&store, args, &mut file)?;
            file.finish()?;
        }
        None if std::io::stdout().is_terminal() => {
            bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        }
        None => write(&store, args, &mut std::io::stdout().lock())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(store: &Store, args: &SaveArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let options = SaveOptions {
        platform: args.platform.clone(),
    };
    let mut out = BufWriter::with_capacity(BUFFER, out);
    store.save(&args.images, &options, &mut out)?;
    Ok(())
}
