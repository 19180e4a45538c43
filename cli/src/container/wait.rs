//! `hull wait`.

use std::process::ExitCode;

use super::Waiting;
use super::each::each_says;
use crate::client::Daemon;
use crate::complete;
use crate::context::Context;

/// Wait until containers have ended, and print the exit codes of their programs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hull wait job && hull logs job")]
pub(crate) struct Args {
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    containers: Vec<String>,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    each_says(args.containers, |name| {
        let daemon = daemon.clone();
        async move {
            let waiting = Waiting::begin(&daemon, &name, "not-running").await?;
            Ok(Some(waiting.code().await?.to_string()))
        }
    })
    .await
}
