//! `hull ps`: which containers there are.

mod ports;
mod row;

use std::process::ExitCode;

use crate::client::{Daemon, escaped, filters};
use crate::context::Context;
use crate::format::{Columns, List};

use row::Summary;

const HEADERS: &[(&str, &str)] = &[
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];

const COLUMNS: Columns = Columns {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "{{.ID}}",
    headers: HEADERS,
};

const WITH_SIZES: Columns = Columns {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    ..COLUMNS
};

/// List containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull ps -a                                             also those that do not run\n  \
    hull ps -q -f status=exited -f label=job               ids, for other commands\n  \
    hull ps --format 'table {{.Names}}\\t{{.Ports}}'\n  \
    hull ps --format json")]
pub(crate) struct Args {
    /// Show all, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Only those that fit: status, name, id, label, ancestor, before, since, exited, health, network, volume, publish, expose
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// How to print them: table, json, 'table TEMPLATE' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show so many of those that were made last, whether they run or not
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    last: Option<i64>,
    /// Show the one that was made last, whether it runs or not
    #[arg(short, long)]
    latest: bool,
    /// Do not shorten ids, images and commands
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show how much they have written
    #[arg(short, long)]
    size: bool,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let columns = match args.size {
        true => &WITH_SIZES,
        false => &COLUMNS,
    };
    let list = List::new(columns, args.format.as_deref(), args.quiet)?;
    let filters = filters(&args.filter)?;
    let names_size = |format: &String| format.contains(".Size");
    let size = args.size || args.format.as_ref().is_some_and(names_size);
    let daemon = Daemon::connect(ctx).await?;
    let limit = match args.latest {
        true => Some(1),
        false => args.last.filter(|last| *last > 0),
    };
    let mut path = format!("/containers/json?all={}&size={size}", args.all);
    if let Some(limit) = limit {
        path.push_str(&format!("&limit={limit}"));
    }
    if !filters.is_empty() {
        path.push_str("&filters=");
        path.push_str(&escaped(&serde_json::to_string(&filters)?));
    }
    let all: Vec<Summary> = daemon.get(&path).await?;
    let rows: Vec<_> = all.iter().map(|one| one.row(!args.no_trunc)).collect();
    list.print(&rows)?;
    Ok(ExitCode::SUCCESS)
}
