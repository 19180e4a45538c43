//! `hull volume inspect`.

use std::process::ExitCode;

use crate::complete;
use crate::context::Context;
use crate::inspect::{How, Kind, show};

/// Show all that is known of volumes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull volume inspect data\n  \
    hull volume inspect -f '{{.Mountpoint}}' data")]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    /// Names
    #[arg(value_name = "VOLUME", required = true, add = complete::volumes())]
    names: Vec<String>,
}

pub(super) async fn run(args: &Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    show(&[Kind::Volume], &args.names, false, &args.how, ctx).await
}
