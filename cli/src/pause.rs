//! `hull pause`, `unpause` and `suspend`.

use std::process::ExitCode;

use hull_engine::{ContainerId, Engine, Error};

use crate::context::Context;

/// Let containers stand still
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hull pause web && hull unpause web")]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    which: Which,
}

/// Let paused containers go on
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hull unpause web")]
pub(crate) struct UnpauseArgs {
    #[command(flatten)]
    which: Which,
}

/// Write running containers, with their memory and processes, to disk, and end their microVMs
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hull suspend web          its memory is in files now, and costs none\n  \
    hull resume web           it goes on where it was, also after a restart of the host"
)]
pub(crate) struct SuspendArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(crate) async fn pause(args: PauseArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    args.which
        .each(ctx, async |engine, id| engine.pause(&id).await)
        .await
}

pub(crate) async fn unpause(args: UnpauseArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    args.which
        .each(ctx, async |engine, id| engine.unpause(&id).await)
        .await
}

pub(crate) async fn suspend(args: SuspendArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    args.which
        .each(ctx, async |engine, id| engine.suspend(&id).await)
        .await
}

impl Which {
    async fn each(
        &self,
        ctx: &Context,
        what: impl AsyncFn(&Engine, ContainerId) -> Result<(), Error>,
    ) -> anyhow::Result<ExitCode> {
        let engine = Engine::open(ctx.paths().clone())?;
        let mut code = ExitCode::SUCCESS;
        for text in &self.containers {
            let done = match engine.find(text) {
                Ok(id) => what(&engine, id).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => anstream::println!("{text}"),
                Err(error) => code = crate::fail(&error.into()),
            }
        }
        Ok(code)
    }
}
