//! `hull volume`: directories that outlive containers, looked after by the daemon.

mod create;
mod inspect;
mod ls;
pub(crate) mod prune;
mod rm;

use std::process::ExitCode;

use crate::client::Daemon;
use crate::context::Context;

/// Manage volumes
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A volume is a directory that outlives containers and that several of them can use at once.\n\n\
    Examples:\n  \
    hull volume create data\n  \
    hull run --rm -v data:/data busybox touch /data/file\n  \
    hull volume create --opt type=none --opt o=bind --opt device=/srv/www www    a directory of the host's\n  \
    hull volume prune                                                            what nobody uses and nobody named"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(create::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Prune(prune::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Create(args) => create::run(args, &Daemon::connect(ctx).await?).await,
        Command::Inspect(args) => inspect::run(&args, ctx).await,
        Command::Ls(args) => ls::run(&args, ctx).await,
        Command::Prune(args) => prune::run(args, ctx).await,
        Command::Rm(args) => rm::run(&args, &Daemon::connect(ctx).await?).await,
    }
}
