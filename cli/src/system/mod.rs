//! `hull system`: the daemon and all that it looks after, as a whole.

mod df;
pub(crate) mod info;
mod lines;
mod prune;
mod usage;
pub(crate) mod version;

use std::process::ExitCode;

use crate::context::Context;

/// Look after all of it: what there is, what it takes, what nobody needs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull system df                            what images, containers and volumes take\n  \
    hull system info\n  \
    hull system prune                         removes what nobody needs")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Df(df::Args),
    Events(crate::events::Args),
    Info(info::Args),
    Prune(prune::Args),
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Df(args) => df::run(&args, ctx).await,
        Command::Events(args) => crate::events::run(args, ctx).await,
        Command::Info(args) => info::run(&args, ctx).await,
        Command::Prune(args) => prune::run(&args, ctx).await,
    }
}
