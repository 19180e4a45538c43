//! `hull network inspect`.

use std::process::ExitCode;

use crate::complete;
use crate::context::Context;
use crate::inspect::{How, Kind, show};

/// Show all that is known of networks, and who is in them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull network inspect bridge\n  \
    hull network inspect -f '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{println}}{{end}}' backend")]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    /// Names or identifiers
    #[arg(value_name = "NETWORK", required = true, add = complete::networks())]
    names: Vec<String>,
}

pub(super) async fn run(args: &Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    show(&[Kind::Network], &args.names, false, &args.how, ctx).await
}
