//! `hull system df`: what images, containers and volumes take on the disk, and what of it nobody needs.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::usage;
use crate::client::Daemon;
use crate::context::Context;
use crate::format::{Columns, List, Row, Template};
use crate::out;

const COLUMNS: Columns = Columns {
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
    headers: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};

/// Show what images, containers and volumes take
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull system df\n  \
    hull system df -v                                 each of them\n  \
    hull system df --format '{{.Type}}: {{.Size}}'\n\n\
    Layers that several images have are counted once. Templates, from which containers start, are in\n\
    hull template ls.")]
pub(crate) struct Args {
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show each image, container and volume
    #[arg(short, long)]
    verbose: bool,
}

/// What `GET /system/df` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Usage {
    pub(super) layers_size: i64,
    pub(super) images: Vec<usage::Image>,
    pub(super) containers: Vec<usage::Container>,
    pub(super) volumes: Vec<usage::Volume>,
    pub(super) build_cache: Vec<usage::Cached>,
}

/// A line of the summary.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    kind: &'static str,
    total: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
}

pub(super) async fn run(args: &Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let format = args.format.as_deref();
    if args.verbose {
        let template = match format {
            None | Some("table") => None,
            Some("json") => Some(Template::parse("{{json .}}")?),
            Some(text) => Some(Template::parse(text)?),
        };
        let usage = ask(ctx).await?;
        match template {
            None => out::print(&usage::tables(&usage)?)?,
            Some(template) => out::line(&template.render(&usage::object(&usage))?)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let list = List::new(&COLUMNS, format, false)?;
    let rows: Vec<Row> = summary(&ask(ctx).await?).iter().map(Summary::row).collect();
    list.print(&rows)?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(ctx: &Context) -> anyhow::Result<Usage> {
    Daemon::connect(ctx).await?.get("/system/df").await
}

fn summary(usage: &Usage) -> [Summary; 4] {
    let Usage {
        images,
        containers,
        volumes,
        build_cache,
        ..
    } = usage;
    let used = images.iter().filter(|image| image.containers != 0);
    let idle = containers.iter().filter(|one| !one.is_active());
    let unused = volumes.iter().filter(|one| one.usage_data.ref_count == 0);
    let stale = build_cache.iter().filter(|one| !one.in_use);
    [
        Summary {
            kind: "Images",
            total: images.len(),
            active: used.clone().count(),
            size: usage.layers_size,
            reclaimable: usage.layers_size - used.map(usage::Image::unique).sum::<i64>(),
        },
        Summary {
            kind: "Containers",
            total: containers.len(),
            active: containers.len() - idle.clone().count(),
            size: containers.iter().map(|one| one.size_rw).sum(),
            reclaimable: idle.map(|one| one.size_rw).sum(),
        },
        Summary {
            kind: "Local Volumes",
            total: volumes.len(),
            active: volumes.len() - unused.clone().count(),
            size: volumes.iter().map(usage::Volume::size).sum(),
            reclaimable: unused.map(usage::Volume::size).sum(),
        },
        Summary {
            kind: "Build Cache",
            total: build_cache.len(),
            active: build_cache.len() - stale.clone().count(),
            size: build_cache.iter().map(|one| one.size).sum(),
            reclaimable: stale.map(|one| one.size).sum(),
        },
    ]
}

impl Summary {
    fn row(&self) -> Row {
        let mut reclaimable = usage::size(self.reclaimable);
        if self.size > 0 {
            let share = self.reclaimable.saturating_mul(100) / self.size;
            reclaimable = format!("{reclaimable} ({share}%)");
        }
        Row::new(json!({
            "Type": self.kind,
            "TotalCount": self.total.to_string(),
            "Active": self.active.to_string(),
            "Size": usage::size(self.size),
            "Reclaimable": reclaimable,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_can_be_had_back() {
        let usage: Usage = serde_json::from_value(json!({
            "LayersSize": 1000,
            "Images": [
                { "Id": "sha256:a", "Size": 700, "SharedSize": 100, "Containers": 2, "RepoTags": ["a:1"], "Created": 1 },
                { "Id": "sha256:b", "Size": 400, "SharedSize": 100, "Containers": 0, "RepoTags": [], "Created": 1 },
            ],
            "Containers": [
                { "Id": "1", "State": "running", "SizeRw": 10 },
                { "Id": "2", "State": "exited", "SizeRw": 30 },
            ],
            "Volumes": [
                { "Name": "v", "UsageData": { "Size": 5, "RefCount": 1 } },
                { "Name": "w", "UsageData": { "Size": 7, "RefCount": 0 } },
            ],
        }))
        .unwrap();
        let list = List::new(&COLUMNS, None, false).unwrap();
        let rows: Vec<Row> = summary(&usage).iter().map(Summary::row).collect();
        let table = list.render(&rows).unwrap();
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| {
                line.split("  ")
                    .filter(|cell| !cell.is_empty())
                    .map(str::trim)
                    .collect()
            })
            .collect();
        assert_eq!(lines[1], ["Images", "2", "1", "1kB", "400B (40%)"]);
        assert_eq!(lines[2], ["Containers", "2", "1", "40B", "30B (75%)"]);
        assert_eq!(lines[3], ["Local Volumes", "2", "1", "12B", "7B (58%)"]);
        assert_eq!(lines[4], ["Build Cache", "0", "0", "0B", "0B"]);
        assert!(
            usage::tables(&usage)
                .unwrap()
                .contains("w             0         7B")
        );
    }
}
