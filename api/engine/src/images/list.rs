//! `GET /images/json`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use hull_image::Reference;
use hull_image::store::Summary;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::containers::fields;
use crate::error::{ApiError, blocking};
use crate::filters::Filters;
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

const FILTERS: [&str; 7] = [
    "before",
    "dangling",
    "label",
    "label!",
    "reference",
    "since",
    "until",
];

pub(crate) async fn list(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    fields::refuse_parameter(&params, "GET /images/json?manifests")?;
    let filters = chosen(&params.filters(&FILTERS)?, &FILTERS)?;
    let (all, shared) = (params.flag("all"), params.flag("shared-size"));
    let answer = move || {
        let store = supervisor.images();
        let images = store.select(&filters, all)?;
        let mut sizes = BTreeMap::new();
        if shared {
            let usage = store.usage(&[])?.images;
            sizes.extend(usage.iter().map(|usage| (usage.image.id, usage.shared)));
        }
        let shown = images.iter().map(|image| {
            let mut shown = summary(image);
            if let Some(size) = sizes.get(&image.id) {
                shown["SharedSize"] = json!(size);
            }
            shown
        });
        Ok::<_, ApiError>(Value::Array(shown.collect()))
    };
    Ok(lines::value(&blocking(answer).await?))
}

/// A client's filters as the store has them.
///
/// # Errors
/// One of them does not have such a value.
pub(super) fn chosen(filters: &Filters, names: &[&str]) -> Result<hull_image::Filters, ApiError> {
    let (mut chosen, now) = (hull_image::Filters::default(), Timestamp::now());
    for name in names {
        for value in filters.values(name) {
            let added = chosen.add(name, value, now);
            added.map_err(|error| ApiError::invalid(error.to_string()))?;
        }
    }
    Ok(chosen)
}

/// An image as lists show it.
pub(crate) fn summary(image: &Summary) -> Value {
    let labels: BTreeMap<&String, &String> = image
        .labels
        .iter()
        .map(|(key, value)| (key, value))
        .collect();
    let familiar = |names: &[Reference]| names.iter().map(Reference::familiar).collect::<Vec<_>>();
    json!({
        "Id": image.id.to_string(),
        "ParentId": image.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        "RepoTags": familiar(&image.names),
        "RepoDigests": familiar(&image.digests),
        "Created": image.created.unwrap_or(image.added).as_second(),
        "Size": image.size,
        "SharedSize": -1,
        "Labels": labels,
        "Containers": -1,
    })
}
