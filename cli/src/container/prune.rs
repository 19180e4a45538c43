//! `hull container prune`.

use std::process::ExitCode;

use bollard::query_parameters::PruneContainersOptionsBuilder;

use crate::client::{Daemon, filters, said};
use crate::context::Context;
use crate::format::units;
use crate::image::prune::confirmed;
use crate::out;

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
    let which = PruneContainersOptionsBuilder::new()
        .filters(&filters)
        .build();
    let pruned = daemon.docker().prune_containers(Some(which)).await;
    let pruned = pruned.map_err(said)?;
    let removed = pruned.containers_deleted.unwrap_or_default();
    if !removed.is_empty() {
        out::print(&format!("Deleted Containers:\n{}\n\n", removed.join("\n")))?;
    }
    let freed = u64::try_from(pruned.space_reclaimed.unwrap_or_default()).unwrap_or_default();
    out::line(&format!("Total reclaimed space: {}", units::size(freed)))?;
    Ok(ExitCode::SUCCESS)
}
