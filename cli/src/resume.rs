//! `hull resume`: a suspended container goes on.

use std::process::ExitCode;

use crate::client::{Daemon, escaped};
use crate::complete;
use crate::container::Seen;
use crate::context::Context;
use crate::out;
use crate::run::Started;
use crate::run::foreground::{self, How};
use crate::run::timing::Clock;

/// Go on with a suspended container, in the foreground
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hull resume web           with its input, output and terminal\n  \
    hull resume -d web        in the background; hull logs web shows its output"
)]
pub(crate) struct Args {
    /// In the background
    #[arg(short, long)]
    detach: bool,
    /// Name, id, or the beginning of an id
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    if args.detach {
        let path = format!("/hull/containers/{}/resume", escaped(&args.container));
        daemon.post::<Started>(&path, &()).await?;
        out::line(&args.container)?;
        return Ok(ExitCode::SUCCESS);
    }
    let seen = Seen::of(&daemon, &args.container).await?;
    // Else one that runs would be attached to first.
    seen.check_suspended()?;
    let start = format!("/hull/containers/{}/resume", seen.id);
    let how = How::as_made(&seen, start);
    let code = foreground::run(&daemon, &seen.id, how, &mut Clock::silent()).await?;
    Ok(ExitCode::from(code))
}
