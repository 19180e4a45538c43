//! `hull container top`: the processes of a container.

use std::io::Write as _;
use std::process::ExitCode;

use bollard::query_parameters::TopOptions;
use tabwriter::TabWriter;

use crate::client::{Daemon, escaped, said};
use crate::complete;
use crate::context::Context;
use crate::out;

/// Show the processes of a container
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "hull top CONTAINER [PS OPTIONS]",
    after_help = "Examples:\n  \
        hull top web\n  \
        hull top web aux\n  \
        hull top web -o pid,rss,comm"
)]
pub(crate) struct Args {
    /// Its name, its id, or the beginning of that; then options of ps(1): -ef, aux, or -o with a list of columns
    #[arg(
        value_name = "CONTAINER",
        add = complete::containers(),
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        num_args = 1..
    )]
    pub(crate) container_and_options: Vec<String>,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let mut words = args.container_and_options.into_iter();
    let container = words.next().unwrap_or_default();
    let options: Vec<String> = words.collect();
    let wanted = (!options.is_empty()).then(|| TopOptions {
        ps_args: options.join(" "),
    });
    let shown = daemon
        .docker()
        .top_processes(&escaped(&container), wanted)
        .await
        .map_err(said)?;
    let mut table = TabWriter::new(Vec::new()).minwidth(17).padding(3);
    let processes = shown.processes.unwrap_or_default();
    for row in std::iter::once(shown.titles.unwrap_or_default()).chain(processes) {
        let cells = row.iter().map(|cell| cell.replace(char::is_control, " "));
        writeln!(table, "{}", cells.collect::<Vec<_>>().join("\t"))?;
    }
    table.flush()?;
    let table = table.into_inner();
    out::write(&table.map_err(|error| anyhow::anyhow!("{error}"))?)?;
    Ok(ExitCode::SUCCESS)
}
