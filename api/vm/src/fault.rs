//! How a request fails: an HTTP status and a sentence for whoever made it.

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Fault {
    /// What kind of failure.
    pub status: FaultStatus,
    /// The sentence, `fault_message` of the answer's body.
    pub message: String,
}

/// The HTTP status of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultStatus {
    /// 400: the request, or what it asks of this machine in this state. Firecracker's answer to nearly everything.
    BadRequest,
    /// 408: the request did not arrive in time.
    RequestTimeout,
    /// 413: the metadata would be more than its limit.
    PayloadTooLarge,
    /// 500: the VMM gave no answer.
    Internal,
    /// 503: too many connections.
    Unavailable,
}

/// The body of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultBody {
    /// What was wrong.
    pub fault_message: String,
}

impl FaultStatus {
    /// Its number and name.
    #[must_use]
    pub fn line(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::RequestTimeout => (408, "Request Timeout"),
            Self::PayloadTooLarge => (413, "Payload Too Large"),
            Self::Internal => (500, "Internal Server Error"),
            Self::Unavailable => (503, "Service Unavailable"),
        }
    }
}

impl Fault {
    /// What Firecracker says of a request that belongs before the start.
    pub const AFTER_START: &str =
        "The requested operation is not supported after starting the microVM.";
    /// What Firecracker says of a request that belongs behind the start.
    pub const BEFORE_START: &str =
        "The requested operation is not supported before starting the microVM.";

    /// The request is wrong, or wrong for this machine in this state.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(FaultStatus::BadRequest, message)
    }

    /// The VMM failed at it.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FaultStatus::Internal, message)
    }

    /// The request belongs before the start.
    #[must_use]
    pub fn after_start() -> Self {
        Self::bad_request(Self::AFTER_START)
    }

    pub(crate) fn new(status: FaultStatus, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message }
    }

    pub(crate) fn json(error: &serde_json::Error) -> Self {
        Self::bad_request(format!(
            "An error occurred when deserializing the json body of a request: {error}."
        ))
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let body = FaultBody {
            fault_message: self.message.clone(),
        };
        // A text as a value can always be written.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        Self::bad_request(error.to_string())
    }
}
