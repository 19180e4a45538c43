//! `POST /volumes/create`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hull_engine::volume::VolumeSpec;
use serde::Deserialize;
use serde_json::Value;

use super::shown;
use crate::body::JsonBody;
use crate::containers::fields::is_zero;
use crate::error::{ApiError, blocking};
use crate::router::Shared;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Body {
    name: String,
    driver: String,
    driver_opts: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    cluster_volume_spec: Value,
}

pub(crate) async fn create(
    State(supervisor): State<Shared>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let body: Body = body.into()?;
    driver(&body.driver)?;
    if !is_zero(&body.cluster_volume_spec) {
        return Err(ApiError::invalid(
            "ClusterVolumeSpec is not supported: this node is in no swarm",
        ));
    }
    let spec = VolumeSpec {
        labels: body.labels,
        options: body.driver_opts,
    };
    let name = Some(body.name).filter(|name| !name.is_empty());
    let made = blocking(move || supervisor.create_volume(name, spec)).await?;
    let kind = [(CONTENT_TYPE, "application/json")];
    let answer = shown::volume(&made).to_string();
    Ok((StatusCode::CREATED, kind, answer).into_response())
}

/// There is one driver.
///
/// # Errors
/// In Docker's words for a driver that it cannot find.
pub(crate) fn driver(name: &str) -> Result<(), ApiError> {
    match name {
        "" | "local" => Ok(()),
        other => Err(ApiError::not_found(format!(
            "error looking up volume plugin {other}: plugin \"{other}\" not found"
        ))),
    }
}
