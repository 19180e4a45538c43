//! `hull volume prune`.

use std::process::ExitCode;

use bollard::query_parameters::PruneVolumesOptions;

use crate::client::{Daemon, filters, said};
use crate::context::Context;
use crate::pruning::{Filters, bytes, confirmed, deleted, reclaimed};

/// Remove volumes that no container uses
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull volume prune                                     those without a name of their own\n  \
    hull volume prune -af --filter label!=keep            all that have no such label, without asking")]
pub(crate) struct Args {
    /// Those that somebody has named, too
    #[arg(short, long)]
    all: bool,
    /// Only what fits: label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let mut filters = filters(&args.filter)?;
    let what = match args.all {
        true => "all volumes that no container uses",
        false => "all volumes without a name that no container uses",
    };
    if !args.force && !confirmed(what)? {
        return Ok(ExitCode::SUCCESS);
    }
    if args.all {
        filters.insert("all".to_owned(), vec!["true".to_owned()]);
    }
    let daemon = Daemon::connect(ctx).await?;
    reclaimed(prune(&daemon, filters).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Removes them, and says which; how many bytes they took.
pub(crate) async fn prune(daemon: &Daemon, filters: Filters) -> anyhow::Result<u64> {
    let options = PruneVolumesOptions {
        filters: Some(filters),
    };
    let pruned = daemon.docker().prune_volumes(Some(options)).await;
    let pruned = pruned.map_err(said)?;
    deleted("Volumes", &pruned.volumes_deleted.unwrap_or_default())?;
    Ok(bytes(pruned.space_reclaimed))
}
