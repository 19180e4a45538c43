//! What single images, containers and volumes take, for `hull system df -v`.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::df::Usage;
use crate::format::{Columns, List, Row, units};

const NONE: &str = "<none>";

/// An image.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Image {
    id: String,
    repo_tags: Vec<String>,
    /// In seconds since 1970.
    created: i64,
    size: i64,
    shared_size: i64,
    pub(super) containers: i64,
}

/// A container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Container {
    id: String,
    image: String,
    command: String,
    mounts: Vec<Mount>,
    /// In seconds since 1970.
    created: i64,
    state: String,
    status: String,
    names: Vec<String>,
    pub(super) size_rw: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mount {
    r#type: String,
}

/// A volume.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Volume {
    name: String,
    pub(super) usage_data: UsageData,
}

/// What a volume takes and how many use it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct UsageData {
    size: i64,
    pub(super) ref_count: i64,
}

/// The result of a build's step.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Cached {
    #[serde(rename = "ID")]
    id: String,
    r#type: String,
    pub(super) size: i64,
    pub(super) in_use: bool,
}

impl Image {
    /// What no other image has.
    pub(super) fn unique(&self) -> i64 {
        self.size - self.shared_size.max(0)
    }
}

impl Container {
    pub(super) fn is_active(&self) -> bool {
        matches!(self.state.as_str(), "running" | "paused" | "restarting")
    }
}

impl Volume {
    /// What it takes, where that is known.
    pub(super) fn size(&self) -> i64 {
        self.usage_data.size.max(0)
    }
}

/// Bytes as Docker prints them; there are never fewer than none.
pub(super) fn size(bytes: i64) -> String {
    units::size(bytes.try_into().unwrap_or_default())
}

const IMAGES: Columns = Columns {
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
    quiet: "{{.ID}}",
    headers: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
};
const CONTAINERS: Columns = Columns {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
    quiet: "{{.ID}}",
    headers: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
};
const VOLUMES: Columns = Columns {
    table: "{{.Name}}\t{{.Links}}\t{{.Size}}",
    quiet: "{{.Name}}",
    headers: &[
        ("Name", "VOLUME NAME"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
    ],
};
const BUILD_CACHE: Columns = Columns {
    table: "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.InUse}}",
    quiet: "{{.ID}}",
    headers: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("InUse", "IN USE"),
    ],
};

/// A table of each kind.
pub(super) fn tables(usage: &Usage) -> anyhow::Result<String> {
    let object = object(usage);
    let mut text = String::new();
    for (title, columns, name) in [
        ("Images space usage:", &IMAGES, "Images"),
        ("Containers space usage:", &CONTAINERS, "Containers"),
        ("Local Volumes space usage:", &VOLUMES, "Volumes"),
        ("Build cache usage:", &BUILD_CACHE, "BuildCache"),
    ] {
        let rows = object[name].as_array().into_iter().flatten();
        let rows: Vec<Row> = rows.cloned().map(Row::new).collect();
        let table = List::new(columns, None, false)?.render(&rows)?;
        text.push_str(&format!("{title}\n\n{table}\n"));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    Ok(text)
}

/// The same for templates.
pub(super) fn object(usage: &Usage) -> Value {
    let now = Timestamp::now();
    json!({
        "Images": usage.images.iter().flat_map(|one| images(one, now)).collect::<Vec<_>>(),
        "Containers": usage.containers.iter().map(|one| container(one, now)).collect::<Vec<_>>(),
        "Volumes": usage.volumes.iter().map(volume).collect::<Vec<_>>(),
        "BuildCache": usage.build_cache.iter().map(cached).collect::<Vec<_>>(),
    })
}

/// An image under each of its names.
fn images(image: &Image, now: Timestamp) -> Vec<Value> {
    let row = |(repository, tag): (&str, &str)| {
        json!({
            "Repository": repository,
            "Tag": tag,
            "ID": short(image.id.trim_start_matches("sha256:")),
            "CreatedSince": since(image.created, now),
            "Size": size(image.size),
            "SharedSize": size(image.shared_size),
            "UniqueSize": size(image.unique()),
            "Containers": image.containers.to_string(),
        })
    };
    let names = image
        .repo_tags
        .iter()
        .filter_map(|name| name.rsplit_once(':'));
    let rows: Vec<Value> = names.map(row).collect();
    match rows.is_empty() {
        true => vec![row((NONE, NONE))],
        false => rows,
    }
}

fn container(container: &Container, now: Timestamp) -> Value {
    let names = container
        .names
        .iter()
        .map(|name| name.trim_start_matches('/'));
    let volumes = container.mounts.iter().filter(|one| one.r#type == "volume");
    json!({
        "ID": short(&container.id),
        "Image": container.image,
        "Command": format!("\"{}\"", shortened(&container.command)),
        "LocalVolumes": volumes.count().to_string(),
        "Size": size(container.size_rw),
        "RunningFor": since(container.created, now),
        "Status": container.status,
        "Names": names.collect::<Vec<_>>().join(","),
    })
}

fn volume(volume: &Volume) -> Value {
    json!({
        "Name": volume.name,
        "Links": volume.usage_data.ref_count.to_string(),
        "Size": size(volume.size()),
    })
}

fn cached(cached: &Cached) -> Value {
    json!({
        "ID": short(&cached.id),
        "CacheType": cached.r#type,
        "Size": size(cached.size),
        "InUse": cached.in_use.to_string(),
    })
}

fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// A command in the space of a column.
fn shortened(text: &str) -> String {
    const WIDTH: usize = 20;
    match text.chars().count() > WIDTH {
        true => text.chars().take(WIDTH - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn since(seconds: i64, now: Timestamp) -> String {
    Timestamp::from_second(seconds).map_or_else(
        |_| "N/A".to_owned(),
        |then| format!("{} ago", units::ago(then, now)),
    )
}
