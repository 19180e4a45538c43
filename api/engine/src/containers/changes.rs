//! `GET /containers/{id}/changes` and `/containers/{id}/export`: how a container differs from its image, and all of its files.

use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hull_engine::Error;
use hull_engine::inquiry::{Change, Files};
use serde_json::{Value, json};

use super::guest::Taken;
use crate::error::ApiError;
use crate::lines;
use crate::router::Shared;

pub(crate) async fn changes(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let (_guest, inquiry) = container.guest().await?;
    let changes = inquiry.changes().await.map_err(Error::from)?;
    let shown = |change: Change| json!({ "Path": String::from_utf8_lossy(&change.path), "Kind": change.kind as u8 });
    let shown: Vec<Value> = changes.into_iter().map(shown).collect();
    let shown = match shown.is_empty() {
        true => Value::Null,
        false => Value::Array(shown),
    };
    Ok(lines::value(&shown))
}

pub(crate) async fn export(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let (guest, inquiry) = container.guest().await?;
    let reading = inquiry.read(Files::Export).await.map_err(Error::from)?;
    let taken = Taken::begin(guest, reading).await.map_err(Error::from)?;
    container.tell("export");
    let kind = [(CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, taken.into_body()).into_response())
}
