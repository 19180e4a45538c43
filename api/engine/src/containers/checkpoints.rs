//! `/containers/{id}/checkpoints`: the container with its memory and its disk as it was at some moment, to be started from again.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use hull_engine::Error;
use hull_engine::snapshot::SnapshotError;
use hull_engine::supervisor::Container;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fields;
use crate::body::JsonBody;
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

/// What makes one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CreateBody {
    #[serde(rename = "CheckpointID")]
    id: String,
    #[serde(rename = "CheckpointDir")]
    directory: String,
    #[serde(rename = "Exit")]
    exit: bool,
}

pub(crate) async fn create(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let container = supervisor.find(&id)?;
    let body: CreateBody = body.into()?;
    if !body.directory.is_empty() {
        return Err(fields::elsewhere("CheckpointDir"));
    }
    let taken = container.checkpoint(&body.id, body.exit).await;
    taken.map_err(|error| refusal(&container, &body.id, error))?;
    Ok(StatusCode::CREATED)
}

pub(crate) async fn list(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    refuse_directory(&params, "dir")?;
    let container = supervisor.find(&id)?;
    let names = blocking(move || container.list_checkpoints()).await?;
    let shown = names.into_iter().map(|name| json!({ "Name": name }));
    Ok(lines::value(&Value::Array(shown.collect())))
}

pub(crate) async fn remove(
    State(supervisor): State<Shared>,
    Path((id, name)): Path<(String, String)>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    refuse_directory(&params, "dir")?;
    let container = supervisor.find(&id)?;
    let removed = blocking(move || {
        let removed = container.remove_checkpoint(&name);
        removed.map_err(|error| refusal(&container, &name, error.into()))
    });
    removed.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why nothing is done with a checkpoint, in Docker's words.
pub(super) fn refusal(container: &Container, name: &str, error: Error) -> ApiError {
    let of = container.name();
    match error {
        Error::Snapshot(SnapshotError::NotFound(_)) => ApiError::not_found(format!(
            "checkpoint {name} does not exist for container {of}"
        )),
        Error::Snapshot(SnapshotError::Taken(_)) => ApiError::conflict(format!(
            "checkpoint with name {name} already exists for container {of}"
        )),
        Error::Snapshot(SnapshotError::Name(_)) => ApiError::invalid(format!(
            "Invalid checkpoint ID ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )),
        error => error.into(),
    }
}

/// Checkpoints are where their container is.
pub(super) fn refuse_directory(params: &Params, name: &str) -> Result<(), ApiError> {
    match params.text(name) {
        Some(_) => Err(fields::elsewhere(name)),
        None => Ok(()),
    }
}
