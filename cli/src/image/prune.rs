//! `hull image prune`.

use std::process::ExitCode;

use hull_engine::Engine;
use hull_image::{Filters, Prune};
use jiff::Timestamp;

use super::{rm, store};
use crate::context::Context;
use crate::pruning::{confirmed, reclaimed};

/// Remove images that nobody needs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull image prune                                images without a name, and downloads that were given up\n  \
    hull image prune --filter until=720h            of those, what was made a month ago or earlier\n  \
    hull image prune -af                            all images that no container needs, without asking")]
pub(crate) struct PruneArgs {
    /// Also images that have a name, if no container needs them
    #[arg(short, long)]
    all: bool,
    /// Only what fits: label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(super) fn run(args: &PruneArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let mut filters = Filters::default();
    for filter in &args.filter {
        filters.add_text(filter, Timestamp::now())?;
    }
    let what = if args.all {
        "all images without a container that needs them"
    } else {
        "all images without a name"
    };
    if !args.force && !confirmed(what)? {
        return Ok(ExitCode::SUCCESS);
    }
    let prune = Prune {
        all: args.all,
        filters,
        uses: Engine::uses(ctx.paths()),
    };
    let (removed, freed) = store(ctx)?.prune(&prune)?;
    rm::print(&removed)?;
    reclaimed(freed.bytes)?;
    Ok(ExitCode::SUCCESS)
}
