//! `hull stats`: what containers use.

mod figures;
mod watch;

use std::process::ExitCode;

use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all};

use crate::client::{Daemon, escaped, said};
use crate::complete;
use crate::context::Context;
use crate::format::{Columns, List};

use figures::Figures;

const COLUMNS: Columns = Columns {
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
    headers: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
};

/// Show what containers use: processors, memory, networks, disks, processes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull stats                              all that run, until ctrl-c\n  \
    hull stats --no-stream web database     once\n  \
    hull stats --format '{{.Name}}: {{.MemUsage}}'")]
pub(crate) struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// How to print it: table, json, 'table TEMPLATE' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show it once
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Names, ids, or beginnings of ids; all that run without any
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    containers: Vec<String>,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let list = List::new(&COLUMNS, args.format.as_deref(), false)?;
    let daemon = Daemon::connect(ctx).await?;
    let names = match args.containers.is_empty() {
        true => there(&daemon, args.all).await?,
        false => args.containers.clone(),
    };
    if args.no_stream {
        let figures = names.into_iter().map(|name| once(&daemon, name));
        let figures: Vec<Option<Figures>> = try_join_all(figures).await?;
        let rows: Vec<_> = figures
            .iter()
            .flatten()
            .map(|one| one.row(!args.no_trunc))
            .collect();
        list.print(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Which ones there are is not settled where none is named.
    let follows = args.containers.is_empty();
    watch::watch(&daemon, names, follows, &list, &args).await?;
    Ok(ExitCode::SUCCESS)
}

/// The ids of those that run, or of all.
async fn there(daemon: &Daemon, all: bool) -> anyhow::Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct One {
        id: String,
    }
    let listed: Vec<One> = daemon.get(&format!("/containers/json?all={all}")).await?;
    Ok(listed.into_iter().map(|one| one.id).collect())
}

/// One sample, and the one before that it takes; nothing of a container that is gone.
async fn once(daemon: &Daemon, name: String) -> anyhow::Result<Option<Figures>> {
    let how = StatsOptionsBuilder::new().stream(false).build();
    let mut samples = daemon.docker().stats(&escaped(&name), Some(how)).boxed();
    let sample = samples.try_next().await.map_err(said)?;
    Ok(sample.map(|sample| Figures::of(&name, &sample)))
}
