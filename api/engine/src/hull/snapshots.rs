//! Snapshots of containers, and containers that go on from one.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use hull_engine::Changes;
use hull_engine::snapshot::Listed;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::JsonBody;
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::router::Shared;

/// What is taken.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TakeBody {
    name: String,
}

/// What is made.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FromBody {
    snapshot: String,
    name: Option<String>,
    rm: bool,
    hostname: Option<String>,
    labels: BTreeMap<String, String>,
}

pub(super) async fn take(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let body: TakeBody = body.into()?;
    let taken = container.snapshot(&body.name).await?;
    let shown = json!({
        "name": body.name,
        "stood_still_ms": taken.stood_still.as_secs_f64() * 1000.0,
    });
    Ok((StatusCode::CREATED, lines::value(&shown)).into_response())
}

pub(super) async fn create_from(
    State(supervisor): State<Shared>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let body: FromBody = body.into()?;
    let changes = Changes {
        name: body.name,
        auto_remove: body.rm,
        hostname: body.hostname,
        labels: body.labels,
    };
    let container = supervisor.create_from(&body.snapshot, changes).await?;
    let shown = json!({ "Id": container.id().as_str() });
    Ok((StatusCode::CREATED, lines::value(&shown)).into_response())
}

pub(super) async fn list(State(supervisor): State<Shared>) -> Result<Response, ApiError> {
    let snapshots = supervisor.snapshots();
    let listed = blocking(move || {
        let failed = |error| ApiError::internal(format!("snapshots cannot be listed: {error}"));
        snapshots.list().map_err(failed)
    });
    let shown = |one: Listed| {
        json!({
            "name": one.name,
            "container": one.container,
            "image": one.image,
            "image_id": one.image_id,
            "created": one.made.to_string(),
            "size": one.size,
        })
    };
    let shown = listed.await?.into_iter().map(shown);
    Ok(lines::value(&Value::Array(shown.collect())))
}

pub(super) async fn remove(
    State(supervisor): State<Shared>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    blocking(move || supervisor.remove_snapshot(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}
