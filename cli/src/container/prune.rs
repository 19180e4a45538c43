//! `hull container prune`.

use std::process::ExitCode;

use bollard::query_parameters::PruneContainersOptions;

use crate::client::{Daemon, filters, said};
use crate::context::Context;
use crate::pruning::{Filters, bytes, confirmed, deleted, reclaimed};

/// Remove all containers that do not run
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull container prune\n  \
    hull container prune --force --filter until=24h     those that are older than a day, without asking")]
pub(crate) struct Args {
    /// Only those that fit: label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let filters = filters(&args.filter)?;
    if !args.force && !confirmed("all containers that do not run")? {
        return Ok(ExitCode::SUCCESS);
    }
    let daemon = Daemon::connect(ctx).await?;
    reclaimed(prune(&daemon, filters).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Removes them, and says which; how many bytes they took.
pub(crate) async fn prune(daemon: &Daemon, filters: Filters) -> anyhow::Result<u64> {
    let options = PruneContainersOptions {
        filters: Some(filters),
    };
    let pruned = daemon.docker().prune_containers(Some(options)).await;
    let pruned = pruned.map_err(said)?;
    deleted("Containers", &pruned.containers_deleted.unwrap_or_default())?;
    Ok(bytes(pruned.space_reclaimed))
}
