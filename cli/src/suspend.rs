//! `hull suspend`: containers in files, until they are resumed.

use std::process::ExitCode;

use crate::client::Daemon;
use crate::complete;
use crate::container::each;
use crate::context::Context;

/// Write running containers, with their memory and processes, to disk, and end their microVMs
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hull suspend web          its memory is in files now, and costs none\n  \
    hull resume web           it goes on where it was, also after a restart of the host"
)]
pub(crate) struct Args {
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    each(args.containers, |name| {
        let daemon = daemon.clone();
        async move {
            let path = format!("/hull/containers/{name}/suspend");
            daemon.post(&path, &()).await
        }
    })
    .await
}
