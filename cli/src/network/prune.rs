//! `hull network prune`.

use std::process::ExitCode;

use bollard::query_parameters::PruneNetworksOptions;

use crate::client::{Daemon, filters, said};
use crate::context::Context;
use crate::pruning::{Filters, confirmed, deleted};

/// Remove networks in which nobody is
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull network prune\n  \
    hull network prune -f --filter until=24h              of those, what was made a day ago or earlier")]
pub(crate) struct Args {
    /// Only what fits: label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(super) async fn run(args: &Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let filters = filters(&args.filter)?;
    if args.force || confirmed("all networks that nobody uses")? {
        prune(&Daemon::connect(ctx).await?, filters).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes them, and says which.
pub(crate) async fn prune(daemon: &Daemon, filters: Filters) -> anyhow::Result<()> {
    let options = PruneNetworksOptions {
        filters: Some(filters),
    };
    let pruned = daemon.docker().prune_networks(Some(options)).await;
    let pruned = pruned.map_err(said)?.networks_deleted;
    deleted("Networks", &pruned.unwrap_or_default())
}
