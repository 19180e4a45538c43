//! `hull stop`: asks containers to stop.

use std::process::ExitCode;

use bollard::query_parameters::StopContainerOptions;

use super::each::each;
use crate::client::{Daemon, said};
use crate::complete;
use crate::context::Context;

/// Stop containers: by a signal, and after a while by force
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hull stop web\n  hull stop --timeout 60 database")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) how: How,
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    containers: Vec<String>,
}

/// How a container is asked to stop.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// The signal; without it the one of --stop-signal, of the image, or TERM
    #[arg(short, long, value_name = "SIGNAL")]
    pub(super) signal: Option<String>,
    /// How many seconds a container may take, -1 for as long as it likes; 10 where neither this nor --stop-timeout was said
    #[arg(
        short,
        long,
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub(super) timeout: Option<i32>,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let how = StopContainerOptions {
        signal: args.how.signal,
        t: args.how.timeout,
    };
    each(args.containers, |name| {
        let (docker, how) = (daemon.docker().clone(), how.clone());
        async move { docker.stop_container(&name, Some(how)).await.map_err(said) }
    })
    .await
}
