//! Containers: `hull container ...`, and most of the same as commands of their own.

mod attach;
mod commit;
mod cp;
mod diff;
mod each;
mod exec;
mod exit;
mod export;
mod kill;
mod logs;
mod ls;
mod pause;
mod port;
pub(crate) mod prune;
mod rename;
mod restart;
mod rm;
mod seen;
mod start;
mod stats;
mod stop;
pub(crate) mod top;
mod update;
mod wait;

use std::process::ExitCode;

use clap::Subcommand;

use crate::context::Context;
use crate::inspect;
use crate::run as running;

pub(crate) use each::each;
pub(crate) use exit::Waiting;
pub(crate) use seen::Seen;

/// Containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull container ls --all\n  \
    hull container inspect web\n  \
    hull container prune")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What is done about containers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Attach(attach::Args),
    Commit(commit::Args),
    Cp(cp::Args),
    Create(Box<running::CreateArgs>),
    Diff(diff::Args),
    Exec(exec::Args),
    Export(export::Args),
    Inspect(inspect::ContainerArgs),
    Kill(kill::Args),
    Logs(logs::Args),
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ls::Args),
    Pause(pause::PauseArgs),
    Port(port::Args),
    Prune(prune::Args),
    Rename(rename::Args),
    Restart(restart::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Run(Box<running::Args>),
    Start(start::Args),
    Stats(stats::Args),
    Stop(stop::Args),
    Top(top::Args),
    Unpause(pause::UnpauseArgs),
    Update(update::Args),
    Wait(wait::Args),
}

/// Those that are commands of their own, too.
#[derive(Debug, Subcommand)]
pub(crate) enum Shortcut {
    Run(Box<running::Args>),
    Create(Box<running::CreateArgs>),
    Ps(ls::Args),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Kill(kill::Args),
    Rm(rm::Args),
    Pause(pause::PauseArgs),
    Unpause(pause::UnpauseArgs),
    Exec(exec::Args),
    Attach(attach::Args),
    Logs(logs::Args),
    Wait(wait::Args),
    Cp(cp::Args),
    Diff(diff::Args),
    Commit(commit::Args),
    Export(export::Args),
    Port(port::Args),
    Rename(rename::Args),
    Stats(stats::Args),
    Update(update::Args),
}

impl From<Shortcut> for Command {
    fn from(shortcut: Shortcut) -> Self {
        match shortcut {
            Shortcut::Run(args) => Self::Run(args),
            Shortcut::Create(args) => Self::Create(args),
            Shortcut::Ps(args) => Self::Ls(args),
            Shortcut::Start(args) => Self::Start(args),
            Shortcut::Stop(args) => Self::Stop(args),
            Shortcut::Restart(args) => Self::Restart(args),
            Shortcut::Kill(args) => Self::Kill(args),
            Shortcut::Rm(args) => Self::Rm(args),
            Shortcut::Pause(args) => Self::Pause(args),
            Shortcut::Unpause(args) => Self::Unpause(args),
            Shortcut::Exec(args) => Self::Exec(args),
            Shortcut::Attach(args) => Self::Attach(args),
            Shortcut::Logs(args) => Self::Logs(args),
            Shortcut::Wait(args) => Self::Wait(args),
            Shortcut::Cp(args) => Self::Cp(args),
            Shortcut::Diff(args) => Self::Diff(args),
            Shortcut::Commit(args) => Self::Commit(args),
            Shortcut::Export(args) => Self::Export(args),
            Shortcut::Port(args) => Self::Port(args),
            Shortcut::Rename(args) => Self::Rename(args),
            Shortcut::Stats(args) => Self::Stats(args),
            Shortcut::Update(args) => Self::Update(args),
        }
    }
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    dispatch(args.command, ctx).await
}

/// Does one that was said without `container`.
pub(crate) async fn shortcut(shortcut: Shortcut, ctx: &Context) -> anyhow::Result<ExitCode> {
    dispatch(shortcut.into(), ctx).await
}

async fn dispatch(command: Command, ctx: &Context) -> anyhow::Result<ExitCode> {
    match command {
        Command::Attach(args) => attach::run(args, ctx).await,
        Command::Commit(args) => commit::run(args, ctx).await,
        Command::Cp(args) => cp::run(args, ctx).await,
        Command::Create(args) => running::create(*args, ctx).await,
        Command::Diff(args) => diff::run(args, ctx).await,
        Command::Exec(args) => exec::run(args, ctx).await,
        Command::Export(args) => export::run(args, ctx).await,
        Command::Inspect(args) => inspect::containers(args, ctx).await,
        Command::Kill(args) => kill::run(args, ctx).await,
        Command::Logs(args) => logs::run(args, ctx).await,
        Command::Ls(args) => ls::run(args, ctx).await,
        Command::Pause(args) => pause::pause(args, ctx).await,
        Command::Port(args) => port::run(args, ctx).await,
        Command::Prune(args) => prune::run(args, ctx).await,
        Command::Rename(args) => rename::run(args, ctx).await,
        Command::Restart(args) => restart::run(args, ctx).await,
        Command::Rm(args) => rm::run(args, ctx).await,
        Command::Run(args) => running::run(*args, ctx).await,
        Command::Start(args) => start::run(args, ctx).await,
        Command::Stats(args) => stats::run(args, ctx).await,
        Command::Stop(args) => stop::run(args, ctx).await,
        Command::Top(args) => top::run(args, ctx).await,
        Command::Unpause(args) => pause::unpause(args, ctx).await,
        Command::Update(args) => update::run(args, ctx).await,
        Command::Wait(args) => wait::run(args, ctx).await,
    }
}
