//! A client of the API, blocking: one method for each operation.
//!
//! Each call is a connection of its own, so that a client can be shared between threads, and nothing is kept open.

mod error;
mod exchange;
mod operations;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::ClientError;
use exchange::Exchange;

use crate::request::Method;

/// For most calls; the VMM answers nearly all of them at once.
const DEFAULT_TIME: Duration = Duration::from_secs(30);

/// The API of the microVM at one socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    time: Duration,
}

impl Client {
    /// A client of the API at `socket`. Nothing is connected yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            time: DEFAULT_TIME,
        }
    }

    /// The same, with another time for each call to come back. A snapshot of a large guest may need minutes.
    #[must_use]
    pub fn with_time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Where the API is.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self.call(Method::Get, path, &[])?;
        serde_json::from_slice(&body)
            .map_err(|error| ClientError::Protocol(format!("its answer to GET {path}: {error}")))
    }

    fn put(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Json)?;
        self.call(Method::Put, path, &body).map(drop)
    }

    fn patch(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Json)?;
        self.call(Method::Patch, path, &body).map(drop)
    }

    fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.call(Method::Delete, path, &[]).map(drop)
    }

    /// Sends one request and returns the body of its answer.
    fn call(&self, method: Method, path: &str, body: &[u8]) -> Result<Vec<u8>, ClientError> {
        Exchange::connect(&self.socket, self.time)?.run(method, path, body)
    }
}
