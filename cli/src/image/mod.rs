//! `hull image`: build, pull, push, load, save, import, list, inspect, tag, remove and prune images.
//!
//! What is done is `hull_image`'s; here are the options, the tables and the progress bars.

mod history;
mod import;
mod inspect;
mod load;
mod ls;
mod progress;
mod prune;
mod pull;
mod push;
mod rm;
mod save;
pub(crate) mod search;
mod tag;

use std::process::ExitCode;

use hull_image::Store;

use crate::build;
use crate::context::Context;

pub(crate) use history::HistoryArgs;
pub(crate) use import::ImportArgs;
pub(crate) use inspect::InspectArgs;
pub(crate) use load::LoadArgs;
pub(crate) use ls::LsArgs;
pub(crate) use prune::PruneArgs;
pub(crate) use pull::{PullArgs, pull};
pub(crate) use push::PushArgs;
pub(crate) use rm::RmArgs;
pub(crate) use save::SaveArgs;
pub(crate) use search::SearchArgs;
pub(crate) use tag::TagArgs;

/// Manage images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Build(Box<build::Args>),
    Pull(PullArgs),
    Push(PushArgs),
    Load(LoadArgs),
    Save(SaveArgs),
    Import(ImportArgs),
    History(HistoryArgs),
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    Inspect(InspectArgs),
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    Prune(PruneArgs),
    Tag(TagArgs),
}

pub(crate) async fn run(command: Command, ctx: &Context) -> anyhow::Result<ExitCode> {
    match command {
        Command::Build(args) => build::run(*args, ctx).await,
        Command::Pull(args) => pull::run(args, ctx).await,
        Command::Push(args) => push::run(args, ctx).await,
        Command::Load(args) => load::run(args, ctx).await,
        Command::Save(args) => save::run(&args, ctx),
        Command::Import(args) => import::run(args, ctx).await,
        Command::History(args) => history::run(&args, ctx),
        Command::Ls(args) => ls::run(&args, ctx),
        Command::Inspect(args) => inspect::run(&args, ctx),
        Command::Rm(args) => rm::run(&args, ctx),
        Command::Prune(args) => prune::run(&args, ctx),
        Command::Tag(args) => tag::run(&args, ctx),
    }
}

fn store(ctx: &Context) -> anyhow::Result<Store> {
    Ok(Store::open(&ctx.images())?)
}
