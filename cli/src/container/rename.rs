//! `hull rename`.

use std::process::ExitCode;

use bollard::query_parameters::RenameContainerOptionsBuilder;

use crate::client::{Daemon, escaped, said};
use crate::complete;
use crate::context::Context;

/// Give a container another name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hull rename web old-web")]
pub(crate) struct Args {
    /// Its name, its id, or the beginning of that
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
    /// The name that it gets
    #[arg(value_name = "NEW_NAME")]
    name: String,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let name = RenameContainerOptionsBuilder::new()
        .name(&args.name)
        .build();
    let container = escaped(&args.container);
    let renamed = daemon.docker().rename_container(&container, name);
    renamed.await.map_err(said)?;
    Ok(ExitCode::SUCCESS)
}
