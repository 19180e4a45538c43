//! `hull network ls`.

use std::process::ExitCode;

use bollard::models::Network;
use bollard::query_parameters::ListNetworksOptions;
use serde_json::json;

use crate::client::{Daemon, filters, said};
use crate::context::Context;
use crate::format::{Columns, List, Row};
use crate::pairs::joined;

const COLUMNS: Columns = Columns {
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
    headers: &[
        ("CreatedAt", "CREATED AT"),
        ("Driver", "DRIVER"),
        ("ID", "NETWORK ID"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Scope", "SCOPE"),
    ],
};
/// Characters of an identifier that are enough to tell it from others.
const SHORT: usize = 12;

/// List networks
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull network ls -f type=custom                        those that somebody has made\n  \
    hull network ls --format '{{.Name}} {{.Internal}}'")]
pub(crate) struct Args {
    /// List only what fits: dangling=true|false, driver=NAME, id=TEXT, label=KEY[=VALUE], name=TEXT, scope=local,
    /// type=custom|builtin
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not shorten identifiers
    #[arg(long)]
    no_trunc: bool,
    /// Show identifiers only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) async fn run(args: &Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    // What is wrong with it is said before anybody is asked.
    let list = List::new(&COLUMNS, args.format.as_deref(), args.quiet)?;
    let filters = filters(&args.filter)?;
    let daemon = Daemon::connect(ctx).await?;
    let options = ListNetworksOptions {
        filters: Some(filters),
    };
    let found = daemon.docker().list_networks(Some(options)).await;
    let mut networks = found.map_err(said)?;
    networks.sort_by(|one, other| one.name.cmp(&other.name));
    let rows = networks.into_iter().map(|one| row(one, args.no_trunc));
    let rows: Vec<Row> = rows.collect();
    list.print(&rows)?;
    Ok(ExitCode::SUCCESS)
}

/// The fields that Docker has.
fn row(network: Network, full: bool) -> Row {
    let mut id = network.id.unwrap_or_default();
    if !full {
        id.truncate(SHORT);
    }
    let labels = network.labels.unwrap_or_default();
    let flag = |flag: Option<bool>| flag.unwrap_or_default().to_string();
    let fields = json!({
        "CreatedAt": network.created.unwrap_or_default(),
        "Driver": network.driver.unwrap_or_default(),
        "ID": id,
        "IPv4": flag(network.enable_ipv4),
        "IPv6": flag(network.enable_ipv6),
        "Internal": flag(network.internal),
        "Labels": joined(&labels),
        "Name": network.name.unwrap_or_default(),
        "Scope": network.scope.unwrap_or_default(),
    });
    Row::new(fields).with_labels(labels)
}
