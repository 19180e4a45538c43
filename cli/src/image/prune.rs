//! `hull image prune`.

use std::io::Write;
use std::process::ExitCode;

use hull_engine::Engine;
use hull_image::Prune;

use super::size::human;
use super::{rm, store};
use crate::context::Context;

/// Remove images that nobody needs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull image prune                                images without a name, and downloads that were given up\n  \
    hull image prune -af                            all images that no container needs, without asking")]
pub(crate) struct PruneArgs {
    /// Also images that have a name, if no container needs them
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(super) fn run(args: &PruneArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
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
        uses: Engine::uses(ctx.paths()),
    };
    let (removed, freed) = store(ctx)?.prune(&prune)?;
    rm::print(&removed);
    anstream::println!("Total reclaimed space: {}", human(freed.bytes));
    Ok(ExitCode::SUCCESS)
}

/// Asks the person at the terminal.
pub(crate) fn confirmed(what: &str) -> anyhow::Result<bool> {
    anstream::eprint!("This removes {what}. Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    let answer = answer.trim().to_lowercase();
    Ok(answer == "y" || answer == "yes")
}
