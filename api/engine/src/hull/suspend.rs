//! Containers that are put aside, with their memory and processes, and go on.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::error::ApiError;
use crate::lines;
use crate::router::Shared;

pub(super) async fn suspend(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    supervisor.find(&id)?.suspend().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// As `start`, except that a container which is not suspended is not started.
pub(super) async fn resume(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let started = supervisor.find(&id)?.resume().await?;
    let shown = json!({ "from": started.from, "steps": started.steps });
    Ok(lines::value(&shown))
}
