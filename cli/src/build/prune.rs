//! `hull builder prune`: results of builds' steps that no image needs.

use std::process::ExitCode;

use bollard::query_parameters::PruneBuildOptions;

use crate::client::{Daemon, filters, said};
use crate::context::Context;
use crate::pruning::{Filters, bytes, confirmed, deleted, reclaimed};

/// Remove results of builds' steps that no image needs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Those that the next build might use, too
    #[arg(short, long)]
    all: bool,
    /// Only what fits: until=TIME
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let filters = filters(&args.filter)?;
    let what = "the results of builds' steps that no image needs";
    if args.force || confirmed(what)? {
        let daemon = Daemon::connect(ctx).await?;
        reclaimed(prune(&daemon, filters, args.all).await?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes them, and says which; how many bytes they took.
pub(crate) async fn prune(daemon: &Daemon, filters: Filters, all: bool) -> anyhow::Result<u64> {
    let options = PruneBuildOptions {
        all: Some(all),
        filters: Some(filters),
        ..PruneBuildOptions::default()
    };
    let pruned = daemon.docker().prune_build(Some(options)).await;
    let pruned = pruned.map_err(said)?;
    let removed = pruned.caches_deleted.unwrap_or_default();
    deleted("build cache objects", &removed)?;
    Ok(bytes(pruned.space_reclaimed))
}
