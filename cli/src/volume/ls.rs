//! `hull volume ls`.

use std::process::ExitCode;

use bollard::models::Volume;
use bollard::query_parameters::ListVolumesOptions;
use serde_json::json;

use crate::client::{Daemon, filters, said};
use crate::context::Context;
use crate::format::{Columns, List, Row};
use crate::pairs::joined;

const COLUMNS: Columns = Columns {
    table: "{{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
    headers: &[
        ("Availability", "AVAILABILITY"),
        ("Driver", "DRIVER"),
        ("Group", "GROUP"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
};

/// List volumes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull volume ls -f dangling=true                       those that no container uses\n  \
    hull volume ls --format '{{.Name}}: {{.Mountpoint}}'")]
pub(crate) struct Args {
    /// List only what fits: dangling=true|false, driver=NAME, label=KEY[=VALUE], name=TEXT
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show names only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) async fn run(args: &Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    // What is wrong with it is said before anybody is asked.
    let list = List::new(&COLUMNS, args.format.as_deref(), args.quiet)?;
    let filters = filters(&args.filter)?;
    let daemon = Daemon::connect(ctx).await?;
    let options = ListVolumesOptions {
        filters: Some(filters),
    };
    let found = daemon.docker().list_volumes(Some(options)).await;
    let mut volumes = found.map_err(said)?.volumes.unwrap_or_default();
    volumes.sort_by(|one, other| one.name.cmp(&other.name));
    let rows: Vec<Row> = volumes.into_iter().map(row).collect();
    list.print(&rows)?;
    Ok(ExitCode::SUCCESS)
}

/// The fields that Docker has. What is a swarm's, and the size, which takes long to find out, are not available.
fn row(volume: Volume) -> Row {
    const NONE: &str = "N/A";
    let fields = json!({
        "Availability": NONE,
        "Driver": volume.driver,
        "Group": NONE,
        "Labels": joined(&volume.labels),
        "Links": NONE,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": volume.scope.map(|scope| scope.to_string()).unwrap_or_default(),
        "Size": NONE,
        "Status": NONE,
    });
    Row::new(fields).with_labels(volume.labels)
}
