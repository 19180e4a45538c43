//! `hull search`.

use std::process::ExitCode;

use anyhow::bail;
use hull_image::registry::{self, Found, Search};
use serde_json::json;

use crate::context::Context;
use crate::format::{Columns, List, Row};

const COLUMNS: Columns = Columns {
    table: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    quiet: "{{.Name}}",
    headers: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
};

/// Columns of a description that are shown.
const WIDTH: usize = 45;

/// Search a registry for images
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull search nginx                               on Docker Hub\n  \
    hull search --filter is-official=true --limit 5 nginx\n  \
    hull search registry.example:5000/app           on another one, if it can be searched")]
pub(crate) struct SearchArgs {
    /// What to look for, perhaps with a registry before it
    #[arg(value_name = "TERM")]
    term: String,
    /// Show only what fits: is-official=true|false, is-automated=true|false, stars=NUMBER
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Most that are shown, up to 100
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u32>,
    /// Do not shorten descriptions
    #[arg(long)]
    no_trunc: bool,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(crate) async fn run(args: SearchArgs, _ctx: &Context) -> anyhow::Result<ExitCode> {
    let list = List::new(&COLUMNS, args.format.as_deref(), false)?;
    let mut search = Search {
        term: args.term,
        limit: args.limit,
        ..Search::default()
    };
    for filter in &args.filter {
        let parsed = match filter.split_once('=') {
            Some(("is-official", value)) => value
                .parse()
                .map(|flag| search.official = Some(flag))
                .is_ok(),
            Some(("is-automated", value)) => value
                .parse()
                .map(|flag| search.automated = Some(flag))
                .is_ok(),
            Some(("stars", value)) => value.parse().map(|stars| search.stars = stars).is_ok(),
            _ => false,
        };
        if !parsed {
            bail!(
                "invalid filter '{filter}': it is is-official=true, is-automated=true or stars=NUMBER"
            );
        }
    }
    let found = registry::search(&search, &registry::Config::from_env()?).await?;
    let description = |one: &Found| {
        if args.no_trunc || one.description.chars().count() <= WIDTH {
            return one.description.clone();
        }
        let start: String = one.description.chars().take(WIDTH - 1).collect();
        format!("{start}…")
    };
    let flag = |is: bool| if is { "[OK]" } else { "" };
    let row = |one: &Found| {
        Row::new(json!({
            "Name": one.name,
            "Description": description(one),
            "StarCount": one.stars.to_string(),
            "IsOfficial": flag(one.official),
            "IsAutomated": flag(one.automated),
        }))
    };
    let rows: Vec<Row> = found.iter().map(row).collect();
    list.print(&rows)?;
    Ok(ExitCode::SUCCESS)
}
