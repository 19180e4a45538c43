//! `hull image ls`.

use std::process::ExitCode;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use hull_image::Reference;
use hull_image::store::Summary;
use jiff::Timestamp;
use serde_json::json;

use super::filter::Filter;
use super::size::human;
use super::store;
use crate::context::Context;
use crate::ps::ago;

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
    /// List only what fits: dangling=true|false, label=KEY[=VALUE], reference=PATTERN
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// How to print them; json is one object in a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// An image under one of its names.
struct Row<'a> {
    image: &'a Summary,
    name: Option<&'a Reference>,
}

pub(super) fn run(args: &LsArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let mut filters = args.filter.clone();
    filters.extend(args.pattern.clone().map(Filter::Reference));
    let mut images = store(ctx)?.list()?;
    images.retain(|image| filters.iter().all(|filter| filter.fits(image)));
    let rows: Vec<Row<'_>> = images
        .iter()
        .flat_map(rows)
        .filter(|row| filters.iter().all(|filter| filter.fits_name(row.name)))
        .collect();
    let now = Timestamp::now();
    if args.quiet {
        // Once each, however many names it has.
        let mut last = None;
        for row in rows {
            if last.replace(row.image.id) != Some(row.image.id) {
                anstream::println!("{}", row.id(args.no_trunc));
            }
        }
    } else if args.format == Format::Json {
        for row in &rows {
            anstream::println!("{}", row.object(args.no_trunc, now));
        }
    } else {
        anstream::println!("{}", table(&rows, args, now));
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(image: &Summary) -> Vec<Row<'_>> {
    if image.names.is_empty() {
        return vec![Row { image, name: None }];
    }
    let names = image.names.iter().map(Some);
    names.map(|name| Row { image, name }).collect()
}

fn table(rows: &[Row<'_>], args: &LsArgs, now: Timestamp) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    if args.digests {
        header.insert(2, "DIGEST");
    }
    table.set_header(header);
    for row in rows {
        let mut cells = vec![
            row.repository(),
            row.tag(),
            row.id(args.no_trunc),
            row.created(now),
            human(row.image.size),
        ];
        if args.digests {
            cells.insert(2, row.digest());
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

impl Row<'_> {
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
            Some(created) => format!("{} ago", ago(created, now)),
            None => "N/A".to_owned(),
        }
    }

    /// The fields of `docker image ls --format json`.
    fn object(&self, full: bool, now: Timestamp) -> serde_json::Value {
        json!({
            "ID": self.id(full),
            "Repository": self.repository(),
            "Tag": self.tag(),
            "Digest": self.digest(),
            "CreatedAt": self.image.created.map(|created| created.to_string()),
            "CreatedSince": self.created(now),
            "Size": human(self.image.size),
        })
    }
}
