//! How a call can fail.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is at the socket.
    #[error("cannot connect to the microVM's API at {path}", path = .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
    /// The VMM refused, in its own words.
    #[error("{message}")]
    Fault {
        /// The HTTP status.
        status: u16,
        /// `fault_message`.
        message: String,
    },
    /// The answer did not come in time. The request may have been done all the same.
    #[error("the microVM's API did not answer within {0:?}")]
    Time(Duration),
    /// The connection broke. The request may have been done all the same.
    #[error("the connection to the microVM's API broke")]
    Io(#[source] io::Error),
    /// What came is no answer of this API.
    #[error("the microVM's API cannot be understood: {0}")]
    Protocol(String),
    /// What was to be sent cannot be written as JSON.
    #[error("the request cannot be written as JSON")]
    Json(#[source] serde_json::Error),
}
