//! `hull kill`: signals.

use std::process::ExitCode;

use bollard::query_parameters::KillContainerOptionsBuilder;

use super::each::each;
use crate::client::{Daemon, said};
use crate::complete;
use crate::context::Context;

/// Send a signal to the programs of containers, by default KILL
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hull kill web\n  hull kill --signal HUP web          has it read its configuration, if it does that"
)]
pub(crate) struct Args {
    /// Its name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    containers: Vec<String>,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let how = KillContainerOptionsBuilder::new()
        .signal(&args.signal)
        .build();
    each(args.containers, |name| {
        let (docker, how) = (daemon.docker().clone(), how.clone());
        async move { docker.kill_container(&name, Some(how)).await.map_err(said) }
    })
    .await
}
