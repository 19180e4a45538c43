//! `hull image history`.

use std::process::ExitCode;

use clap::ArgAction;
use hull_image::store::HistoryEntry;
use jiff::Timestamp;
use serde_json::json;

use super::store;
use crate::complete;
use crate::context::Context;
use crate::format::{Columns, List, Row, units};

/// Columns of a command that are shown.
const WIDTH: usize = 45;

/// With ages, and with exact times.
const COLUMNS: [Columns; 2] = [
    Columns {
        table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        quiet: "{{.ID}}",
        headers: HEADERS,
    },
    Columns {
        table: "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        quiet: "{{.ID}}",
        headers: HEADERS,
    },
];
const HEADERS: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

/// Show how an image came to be
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull image history debian                       the last step first\n  \
    hull image history --no-trunc app               whole commands and ids\n  \
    hull image history --human=false app            exact times and bytes")]
pub(crate) struct HistoryArgs {
    /// The image: a name, an id, or the beginning of an id
    #[arg(value_name = "IMAGE", add = complete::images())]
    image: String,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Ages and round sizes
    #[arg(short = 'H', long, default_value_t = true, default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    human: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &HistoryArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let [ages, times] = &COLUMNS;
    let columns = if args.human { ages } else { times };
    let list = List::new(columns, args.format.as_deref(), args.quiet)?;
    let entries = store(ctx)?.history(&args.image)?;
    let now = Timestamp::now();
    let rows: Vec<Row> = entries.iter().map(|entry| row(entry, args, now)).collect();
    list.print(&rows)?;
    Ok(ExitCode::SUCCESS)
}

fn row(entry: &HistoryEntry, args: &HistoryArgs, now: Timestamp) -> Row {
    let id = entry.id.map(|id| match args.no_trunc {
        true => id.to_string(),
        false => id.short(),
    });
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "N/A".to_owned());
    let by: String = entry
        .created_by
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let comment: String = entry.comment.chars().filter(|c| !c.is_control()).collect();
    let since = entry
        .created
        .map(|created| format!("{} ago", units::ago(created, now)));
    Row::new(json!({
        "ID": id.unwrap_or_else(|| "<missing>".to_owned()),
        "CreatedAt": or_none(entry.created.map(|created| created.to_string())),
        "CreatedSince": or_none(since),
        "CreatedBy": if args.no_trunc { by } else { shortened(&by) },
        "Size": if args.human { units::size(entry.size) } else { entry.size.to_string() },
        "Comment": comment,
    }))
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    let start: String = text.chars().take(WIDTH - 1).collect();
    format!("{start}…")
}
