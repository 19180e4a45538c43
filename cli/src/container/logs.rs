//! `hull logs`.

use std::process::ExitCode;

use crate::attach::{Streams, pass_output};
use crate::client::{Daemon, escaped};
use crate::complete;
use crate::context::Context;

/// Show what the program of a container has said
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull logs -f web                    and what it says from now on\n  \
    hull logs -n 20 -t web              the last lines, each with its time\n  \
    hull logs --since 10m web")]
pub(crate) struct Args {
    /// Show the container's details beside each line
    #[arg(long)]
    details: bool,
    /// Show what it says from now on, too, until it ends
    #[arg(short, long)]
    follow: bool,
    /// Only what was said since: 2026-01-02T13:23:37Z, or 42m for so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// How many of the last lines, or all
    #[arg(
        short = 'n',
        long,
        value_name = "LINES",
        default_value = "all",
        allow_negative_numbers = true
    )]
    tail: String,
    /// Show when each line was said
    #[arg(short, long)]
    timestamps: bool,
    /// Only what was said before: 2026-01-02T13:23:37Z, or 42m for so long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Its name, its id, or the beginning of that
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let mut path = format!(
        "/containers/{}/logs?stdout=1&stderr=1&follow={}&timestamps={}&details={}&tail={}",
        escaped(&args.container),
        args.follow,
        args.timestamps,
        args.details,
        escaped(&args.tail)
    );
    for (name, time) in [("since", &args.since), ("until", &args.until)] {
        if let Some(time) = time {
            path.push_str(&format!("&{name}={}", escaped(time)));
        }
    }
    let output = Streams::of_logs(&daemon, path).await?;
    pass_output(output, None).await?;
    Ok(ExitCode::SUCCESS)
}
