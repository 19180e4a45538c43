//! `hull restart`.

use std::process::ExitCode;

use bollard::query_parameters::RestartContainerOptions;

use super::each::each;
use super::stop::How;
use crate::client::{Daemon, said};
use crate::complete;
use crate::context::Context;

/// Stop containers, and start them again
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hull restart web\n  hull restart --signal QUIT --timeout 30 web"
)]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    containers: Vec<String>,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let how = RestartContainerOptions {
        signal: args.how.signal,
        t: args.how.timeout,
    };
    each(args.containers, |name| {
        let (docker, how) = (daemon.docker().clone(), how.clone());
        async move {
            docker
                .restart_container(&name, Some(how))
                .await
                .map_err(said)
        }
    })
    .await
}
