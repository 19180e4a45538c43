//! Images as Docker's Engine API describes them, version 1.51, for whoever answers in its words.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::distribution::Distribution;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{Details, HistoryEntry, Summary};

/// What Docker says where there is no time.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// What Docker calls an image of the history that is not here.
const MISSING: &str = "<missing>";

/// `ImageInspect`. The configuration is there as it came.
///
/// # Errors
/// When the configuration is no JSON, which it was when it came in.
pub fn inspect(details: &Details) -> Result<Value, serde_json::Error> {
    let summary = &details.summary;
    let config: Map<String, Value> = serde_json::from_slice(details.config.bytes())?;
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut image = json!({
        "Id": summary.id,
        "RepoTags": familiar(&summary.names),
        "RepoDigests": familiar(&summary.digests),
        "Parent": summary.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        "Comment": text("comment"),
        "DockerVersion": text("docker_version"),
        "Author": text("author"),
        "Config": config.get("config"),
        "Architecture": text("architecture"),
        "Os": text("os"),
        "Size": summary.size,
        "GraphDriver": {"Name": "hull", "Data": {"Metadata": details.erofs}},
        "RootFS": {"Type": "layers", "Layers": details.config.layers()},
        "Metadata": {"LastTagTime": time(details.tagged)},
    });
    if let Some(fields) = image.as_object_mut() {
        for (key, name) in [
            ("created", "Created"),
            ("variant", "Variant"),
            ("os.version", "OsVersion"),
        ] {
            if let Some(value) = config.get(key).filter(|value| value.is_string()) {
                fields.insert(name.to_owned(), value.clone());
            }
        }
    }
    Ok(image)
}

/// `ImageSummary`. What was not counted is -1.
#[must_use]
pub fn summary(image: &Summary, shared: Option<u64>, containers: Option<usize>) -> Value {
    let labels: Map<String, Value> = image
        .labels
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into()))
        .collect();
    json!({
        "Id": image.id,
        "ParentId": image.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        "RepoTags": familiar(&image.names),
        "RepoDigests": familiar(&image.digests),
        "Created": image.created.map_or(0, Timestamp::as_second),
        "Size": image.size,
        "SharedSize": shared.map_or(json!(-1), Into::into),
        "Labels": labels,
        "Containers": containers.map_or(json!(-1), Into::into),
    })
}

/// A list of `ImageHistoryResponseItem`.
#[must_use]
pub fn history(entries: &[HistoryEntry]) -> Value {
    let item = |entry: &HistoryEntry| {
        json!({
            "Id": entry.id.map_or(MISSING.to_owned(), |id| id.to_string()),
            "Created": entry.created.map_or(0, Timestamp::as_second),
            "CreatedBy": entry.created_by,
            "Tags": familiar(&entry.names),
            "Size": entry.size,
            "Comment": entry.comment,
        })
    };
    entries.iter().map(item).collect()
}

/// `DistributionInspect`.
#[must_use]
pub fn distribution(found: &Distribution) -> Value {
    let platform = |platform: &Platform| {
        let mut value = json!({"architecture": platform.architecture, "os": platform.os});
        if let Some(variant) = &platform.variant {
            value["variant"] = variant.clone().into();
        }
        value
    };
    let platforms: Vec<Value> = found.platforms.iter().map(platform).collect();
    json!({
        "Descriptor": {"mediaType": found.kind, "digest": found.digest, "size": found.size},
        "Platforms": platforms,
    })
}

fn familiar(names: &[Reference]) -> Vec<String> {
    names.iter().map(Reference::familiar).collect()
}

fn time(time: Option<Timestamp>) -> String {
    time.map_or(NEVER.to_owned(), |time| time.to_string())
}
