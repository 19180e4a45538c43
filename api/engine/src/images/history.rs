//! `GET /images/{name}/history`.

use axum::response::Response;
use hull_image::Reference;
use hull_image::store::HistoryEntry;
use serde_json::{Value, json};

use super::platform;
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

pub(super) async fn history(
    supervisor: Shared,
    name: &str,
    params: &Params,
) -> Result<Response, ApiError> {
    platform::check(&supervisor, name, platform::wanted(params)?.as_ref()).await?;
    let (store, name) = (supervisor.images().clone(), name.to_owned());
    let entries = blocking(move || store.history(&name)).await?;
    let shown = entries.iter().map(shown);
    Ok(lines::value(&Value::Array(shown.collect())))
}

fn shown(entry: &HistoryEntry) -> Value {
    let id = entry.id.map(|id| id.to_string());
    let tags: Vec<String> = entry.names.iter().map(Reference::familiar).collect();
    json!({
        "Id": id.unwrap_or_else(|| "<missing>".to_owned()),
        "Created": entry.created.map_or(0, jiff::Timestamp::as_second),
        "CreatedBy": entry.created_by,
        "Tags": tags,
        "Size": entry.size,
        "Comment": entry.comment,
    })
}
