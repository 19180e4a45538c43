//! `hull cp`: files in and out of containers, whether they run or not.

mod archive;
mod into;
mod out_of;
mod places;
mod stat;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::ArgAction;

use crate::client::Daemon;
use crate::context::Context;
use crate::format::units;

use places::Place;

/// Copy files between a container and this host
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "hull cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       hull cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    after_help = "Examples:\n  \
        hull cp web:/var/log/app.log .\n  \
        hull cp ./site web:/srv                  the directory, below /srv if that is there\n  \
        hull cp ./site/. web:/srv                what is in it\n  \
        hull cp web:/srv - | tar t               an archive\n\n\
        A directory that is not there is made by the name that was given, and one that is there gets the copy below it."
)]
pub(crate) struct Args {
    /// Keep owners and all modes; in a container its user gets the files
    #[arg(short, long)]
    archive: bool,
    /// Copy what a link leads to, if SRC_PATH is one
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not say what was copied, as where standard error is no terminal
    #[arg(short, long, action = ArgAction::SetTrue)]
    quiet: bool,
    /// CONTAINER:PATH, a path of this host, or - for an archive on standard input
    #[arg(value_name = "SRC_PATH", allow_hyphen_values = true)]
    source: String,
    /// CONTAINER:PATH, a path of this host, or - for an archive on standard output
    #[arg(value_name = "DEST_PATH", allow_hyphen_values = true)]
    destination: String,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let (source, destination) = (Place::parse(&args.source), Place::parse(&args.destination));
    let copied = match (source, destination) {
        (Place::Container { .. }, Place::Container { .. }) => {
            bail!("copying between containers is not supported")
        }
        (Place::Host(_), Place::Host(_)) => bail!("must specify at least one container source"),
        (Place::Container { name, path }, Place::Host(to)) => {
            let daemon = Daemon::connect(ctx).await?;
            let copied = out_of::copy(&daemon, &name, &path, &to, &args).await?;
            copied.map(|bytes| (bytes, to))
        }
        (Place::Host(from), Place::Container { name, path }) => {
            let daemon = Daemon::connect(ctx).await?;
            let bytes = into::copy(&daemon, &from, &name, &path, &args).await?;
            Some((bytes, format!("{name}:{path}")))
        }
    };
    if let Some((bytes, to)) = copied
        && !args.quiet
        && std::io::stderr().is_terminal()
    {
        anstream::eprintln!("Successfully copied {} to {to}", units::size(bytes));
    }
    Ok(ExitCode::SUCCESS)
}
