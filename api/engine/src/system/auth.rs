//! `POST /auth`: whether a registry lets a client in.

use axum::http::StatusCode;
use axum::response::Response;
use hull_image::registry::{self, Credentials, Error};
use serde_json::json;

use crate::body::JsonBody;
use crate::error::{ApiError, sentence};
use crate::images::registries;
use crate::lines;

pub(crate) async fn auth(JsonBody(body): JsonBody) -> Result<Response, ApiError> {
    let address = body.get("serveraddress").and_then(|value| value.as_str());
    let credentials = Credentials::from_json(body.to_string().as_bytes());
    let credentials = credentials.ok_or_else(|| {
        ApiError::invalid("no credentials: there is neither a username nor a token")
    })?;
    let config = registries::anonymous()?;
    let logged_in = registry::login(address.unwrap_or_default(), credentials, &config).await;
    let logged_in = logged_in.map_err(|error| match &error {
        Error::Denied { .. } | Error::NotFound { .. } => ApiError::new(
            StatusCode::UNAUTHORIZED,
            format!(
                "unauthorized: incorrect username or password: {}",
                sentence(&error)
            ),
        ),
        _ => ApiError::internal(sentence(&error)),
    })?;
    Ok(lines::value(&json!({
        "Status": "Login Succeeded",
        "IdentityToken": logged_in.identity_token.unwrap_or_default(),
    })))
}
