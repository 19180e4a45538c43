//! How registries are reached for a client: with its own credentials, and never with those of whoever started the daemon.

use axum::http::HeaderMap;
use hull_image::registry::{Config, Credentials};

use crate::error::{ApiError, sentence};

/// For a request, whose header `X-Registry-Auth` says who the client is. One that cannot be read is ignored, as by Docker.
///
/// # Errors
/// The daemon's own configuration cannot be read.
pub(crate) fn of(headers: &HeaderMap) -> Result<Config, ApiError> {
    let header = headers
        .get("x-registry-auth")
        .and_then(|value| value.to_str().ok());
    Ok(Config {
        explicit: header.and_then(Credentials::from_header),
        ..anonymous()?
    })
}

/// Without credentials.
pub(crate) fn anonymous() -> Result<Config, ApiError> {
    let config = Config::from_env().map_err(|error| ApiError::internal(sentence(&error)))?;
    Ok(Config {
        explicit: None,
        credentials: None,
        ..config
    })
}
