//! The body of a request: JSON in Docker's spelling, where `null` is the same as nothing.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;

/// The largest JSON body, in bytes: more than a command line can hold.
const LIMIT: usize = 4 << 20;

/// A body of JSON, without what is `null`; an empty object where there is no body.
#[derive(Debug)]
pub(crate) struct JsonBody(pub(crate) Value);

impl JsonBody {
    /// The body as a type whose fields all have defaults.
    pub(crate) fn into<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        typed(self.0)
    }
}

/// JSON as a type, with Docker's words if it is none.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value)
        .map_err(|error| ApiError::invalid(format!("invalid JSON: {error}")))
}

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(CONTENT_TYPE).cloned();
        let bytes = to_bytes(request.into_body(), LIMIT)
            .await
            .map_err(|error| {
                ApiError::invalid(format!(
                    "the request's body cannot be read, or has more than {LIMIT} bytes: {error}"
                ))
            })?;
        if bytes.is_empty() {
            return Ok(Self(Value::Object(serde_json::Map::new())));
        }
        if let Some(kind) = kind {
            let kind = kind.to_str().unwrap_or_default();
            let plain = kind.split(';').next().unwrap_or_default().trim();
            if !plain.eq_ignore_ascii_case("application/json") {
                return Err(ApiError::invalid(format!(
                    "unsupported Content-Type header ({kind}): must be 'application/json'"
                )));
            }
        }
        let mut value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::invalid(format!("invalid JSON: {error}")))?;
        if !(value.is_object() || value.is_null()) {
            return Err(ApiError::invalid("invalid JSON: an object is expected"));
        }
        strip_nulls(&mut value);
        Ok(Self(if value.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            value
        }))
    }
}

/// Takes away members of objects that are `null`: to Go, and so to every client of Docker, they are missing.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => (),
    }
}
