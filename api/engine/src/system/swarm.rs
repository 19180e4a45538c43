//! What Hull is not: a swarm, or a host of plugins.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::error::ApiError;
use crate::lines;

/// Paths that only a node of a swarm answers.
pub(crate) const ROUTES: [&str; 26] = [
    "/swarm",
    "/swarm/init",
    "/swarm/join",
    "/swarm/leave",
    "/swarm/update",
    "/swarm/unlockkey",
    "/swarm/unlock",
    "/nodes",
    "/nodes/{id}",
    "/nodes/{id}/update",
    "/services",
    "/services/create",
    "/services/{id}",
    "/services/{id}/update",
    "/services/{id}/logs",
    "/tasks",
    "/tasks/{id}",
    "/tasks/{id}/logs",
    "/secrets",
    "/secrets/create",
    "/secrets/{id}",
    "/secrets/{id}/update",
    "/configs",
    "/configs/create",
    "/configs/{id}",
    "/configs/{id}/update",
];

pub(crate) async fn unavailable() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Hull runs containers on one host and has no swarm mode.",
    )
}

pub(crate) async fn no_plugins() -> Response {
    lines::value(&json!([]))
}
