//! Errors as clients get them: a status and `{"message": ...}`.

use std::error::Error as StdError;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hull_engine::ErrorKind;
use serde_json::json;

use crate::detach::InvalidKeys;

/// What a request that failed is answered with.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// As `docker run` exits, of a program that cannot be started.
    pub(crate) code: Option<u8>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            code: None,
        }
    }

    /// 400: the request cannot be meant so.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: what it is about is not there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 409: something else is in the way.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 403: it is not to be done, whoever asks.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 500: our fault, or the host's.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), "{}", self.message);
        } else {
            tracing::debug!(status = self.status.as_u16(), "{}", self.message);
        }
        let kind = [(CONTENT_TYPE, "application/json")];
        let mut body = json!({ "message": self.message });
        if let Some(code) = self.code {
            body["code"] = code.into();
        }
        (self.status, kind, body.to_string()).into_response()
    }
}

impl From<InvalidKeys> for ApiError {
    fn from(error: InvalidKeys) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<hull_engine::Error> for ApiError {
    fn from(error: hull_engine::Error) -> Self {
        if let hull_engine::Error::Image(error) = error {
            return error.into();
        }
        let status = match error.kind() {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let code = match &error {
            hull_engine::Error::Start { code, .. } => Some(*code),
            _ => None,
        };
        Self {
            code,
            ..Self::new(status, sentence(&error))
        }
    }
}

impl From<hull_engine::network::Error> for ApiError {
    fn from(error: hull_engine::network::Error) -> Self {
        hull_engine::Error::from(error).into()
    }
}

impl From<hull_image::store::Error> for ApiError {
    fn from(error: hull_image::store::Error) -> Self {
        use hull_image::store::Error;
        let message = sentence(&error);
        match error {
            // Docker's client looks for these words.
            Error::NotFound(name) => Self::not_found(format!("No such image: {name}")),
            Error::Ambiguous(_) | Error::Reference(_) | Error::TagWithDigest(_) => {
                Self::invalid(message)
            }
            Error::InUse { .. } | Error::SeveralNames { .. } => Self::conflict(message),
            _ => Self::internal(message),
        }
    }
}

/// An error and its sources in one line.
pub(crate) fn sentence(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // What is transparent says the same twice.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Does what waits for the file system on a thread where that is allowed.
pub(crate) async fn blocking<T: Send + 'static, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, ApiError>
where
    E: Into<ApiError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(ApiError::internal(format!(
            "a request was not finished: {error}"
        ))),
    }
}
