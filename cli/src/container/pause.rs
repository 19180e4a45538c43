//! `hull pause` and `unpause`.

use std::process::ExitCode;

use super::each::each;
use crate::client::{Daemon, said};
use crate::complete;
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

#[derive(Debug, clap::Args)]
struct Which {
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    containers: Vec<String>,
}

pub(super) async fn pause(args: PauseArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    each(args.which.containers, |name| {
        let docker = daemon.docker().clone();
        async move { docker.pause_container(&name).await.map_err(said) }
    })
    .await
}

pub(super) async fn unpause(args: UnpauseArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    each(args.which.containers, |name| {
        let docker = daemon.docker().clone();
        async move { docker.unpause_container(&name).await.map_err(said) }
    })
    .await
}
