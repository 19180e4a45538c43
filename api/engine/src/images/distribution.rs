//! `GET /distribution/{name}/json`: what a registry has of a name.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hull_image::registry::Error as RegistryError;
use hull_image::{Platform, PullError, Reference};
use serde_json::{Value, json};

use super::registries;
use crate::error::{ApiError, sentence};
use crate::lines;
use crate::router::nowhere;

pub(crate) async fn get(
    Path(rest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Some((name, "json")) = rest.rsplit_once('/') else {
        return Ok(nowhere().await);
    };
    let reference = name.parse::<Reference>();
    let reference = reference
        .map_err(|error| ApiError::invalid(format!("invalid reference format: {error}")))?;
    let found = hull_image::distribution(&reference, &registries::of(&headers)?).await;
    let found = found.map_err(|error| {
        let status = match &error {
            PullError::Registry(RegistryError::NotFound { .. }) => StatusCode::NOT_FOUND,
            PullError::Registry(RegistryError::Denied { .. }) => StatusCode::UNAUTHORIZED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, sentence(&error))
    })?;
    let platform = |platform: &Platform| {
        let mut shown = json!({ "os": platform.os, "architecture": platform.architecture });
        if let Some(variant) = &platform.variant {
            shown["variant"] = json!(variant);
        }
        shown
    };
    let platforms: Vec<Value> = found.platforms.iter().map(platform).collect();
    Ok(lines::value(&json!({
        "Descriptor": {
            "mediaType": found.kind,
            "digest": found.digest.to_string(),
            "size": found.size,
        },
        "Platforms": platforms,
    })))
}
