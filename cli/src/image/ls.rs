//! `hull image ls`.

use std::process::ExitCode;

use hull_image::store::Summary;
use hull_image::{Filters, Reference};
use jiff::Timestamp;
use serde_json::json;

use super::store;
use crate::context::Context;
use crate::format::{Columns, List, Row, units};

/// Without digests, and with them.
const COLUMNS: [Columns; 2] = [
    Columns {
        table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
        quiet: "{{.ID}}",
        headers: HEADERS,
    },
    Columns {
        table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
        quiet: "{{.ID}}",
        headers: HEADERS,
    },
];
const HEADERS: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];
const NONE: &str = "<none>";

/// List images
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull image ls                                   all images, the newest first\n  \
    hull image ls 'debian*'                         those with such a name\n  \
    hull image ls -q --filter dangling=true         the ids of those that lost their name\n  \
    hull image ls --format json | jq .Repository    for programs: one object in a line")]
pub(crate) struct LsArgs {
    /// List only images with this name; * stands for anything but a slash
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pattern: Option<String>,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Show the digests of manifests
    #[arg(long)]
    digests: bool,
    /// Also images without a name that others were made of
    #[arg(short, long)]
    all: bool,
    /// List only what fits: dangling=true|false, label=KEY[=VALUE], reference=PATTERN, before=IMAGE, since=IMAGE,
    /// until=TIME
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// An image under one of its names.
struct Named<'a> {
    image: &'a Summary,
    name: Option<&'a Reference>,
}

pub(super) fn run(args: &LsArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let [plain, digests] = &COLUMNS;
    let columns = if args.digests { digests } else { plain };
    let list = List::new(columns, args.format.as_deref(), args.quiet)?;
    let now = Timestamp::now();
    let mut filters = Filters::default();
    for filter in &args.filter {
        filters.add_text(filter, now)?;
    }
    if let Some(pattern) = &args.pattern {
        filters.add("reference", pattern, now)?;
    }
    let images = store(ctx)?.select(&filters, args.all)?;
    let mut named: Vec<Named<'_>> = images.iter().flat_map(names).collect();
    if args.quiet {
        // Once each, however many names it has.
        named.dedup_by_key(|one| one.image.id);
    }
    let rows: Vec<Row> = named
        .iter()
        .map(|one| one.row(args.no_trunc, now))
        .collect();
    list.print(&rows)?;
    Ok(ExitCode::SUCCESS)
}

fn names(image: &Summary) -> Vec<Named<'_>> {
    if image.names.is_empty() {
        return vec![Named { image, name: None }];
    }
    let names = image.names.iter().map(Some);
    names.map(|name| Named { image, name }).collect()
}

impl Named<'_> {
    fn repository(&self) -> String {
        // An image that lost its tag to a newer one is still known by where it came from.
        let known = self.name.or(self.image.digests.first());
        known.map_or(NONE.to_owned(), Reference::familiar_name)
    }

    fn tag(&self) -> String {
        let tag = self.name.and_then(Reference::tag);
        tag.unwrap_or(NONE).to_owned()
    }

    fn digest(&self) -> String {
        let of_repository =
            |digest: &&Reference| self.name.is_none_or(|name| name.name() == digest.name());
        let digest = self.image.digests.iter().find(of_repository);
        let digest = digest.and_then(|reference| reference.digest());
        digest.map_or(NONE.to_owned(), ToString::to_string)
    }

    fn id(&self, full: bool) -> String {
        if full {
            self.image.id.to_string()
        } else {
            self.image.id.short()
        }
    }

    fn created(&self, now: Timestamp) -> String {
        match self.image.created {
            Some(created) => format!("{} ago", units::ago(created, now)),
            None => "N/A".to_owned(),
        }
    }

    /// The fields that Docker has. What takes long to find out is not available; hull system df -v finds it out.
    fn row(&self, full: bool, now: Timestamp) -> Row {
        const UNKNOWN: &str = "N/A";
        let created = self.image.created.map(|created| created.to_string());
        Row::new(json!({
            "ID": self.id(full),
            "Repository": self.repository(),
            "Tag": self.tag(),
            "Digest": self.digest(),
            "CreatedAt": created.unwrap_or_else(|| UNKNOWN.to_owned()),
            "CreatedSince": self.created(now),
            "Size": units::size(self.image.size),
            "SharedSize": UNKNOWN,
            "UniqueSize": UNKNOWN,
            "Containers": UNKNOWN,
        }))
    }
}
