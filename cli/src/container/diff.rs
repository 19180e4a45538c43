//! `hull diff`.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::client::{Daemon, escaped, said};
use crate::complete;
use crate::context::Context;
use crate::out;

/// Show which files of a container differ from its image's
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hull diff web\n\nA file was added (A), changed (C) or deleted (D)."
)]
pub(crate) struct Args {
    /// Its name, its id, or the beginning of that
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    use bollard::models::ChangeType;
    let daemon = Daemon::connect(ctx).await?;
    let changes = daemon
        .docker()
        .container_changes(&escaped(&args.container))
        .await
        .map_err(said)?;
    let mut text = String::new();
    for change in changes.unwrap_or_default() {
        let kind = match change.kind {
            ChangeType::_0 => 'C',
            ChangeType::_1 => 'A',
            ChangeType::_2 => 'D',
        };
        writeln!(text, "{kind} {}", change.path)?;
    }
    out::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
