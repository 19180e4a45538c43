//! Requests whose answers are wanted as they are: Hull's own routes, and what `bollard` has no word for.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use super::Said;

/// An answer that is read as a whole has at most a few thousand entries, in bytes.
const LONGEST_ANSWER: usize = 64 << 20;
/// What is written as it is in a path or a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text, such as a container's name, as one part of a request's path or query.
pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    method: Method,
    path: String,
    body: Bytes,
    is_upgraded: bool,
}

/// The body of an error.
#[derive(Debug, Deserialize)]
struct Refusal {
    message: String,
    #[serde(default)]
    code: Option<u8>,
}

impl Exchange {
    /// Query strings are part of the path.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: Bytes::new(),
            is_upgraded: false,
        }
    }

    /// With a body.
    pub(crate) fn with_json(mut self, body: &impl Serialize) -> anyhow::Result<Self> {
        self.body = serde_json::to_vec(body)?.into();
        Ok(self)
    }

    /// The connection carries a program's streams behind the answer's head.
    pub(crate) fn upgraded(mut self) -> Self {
        self.is_upgraded = true;
        self
    }

    /// Sends it; an answer that is an error is what this comes to.
    pub(super) async fn with(self, socket: &Path) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(CONTENT_TYPE, "application/json");
        if self.is_upgraded {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
        }
        send(request.body(Full::new(self.body))?, socket).await
    }
}

/// Sends a request, whose body may still be in the making; an answer that is an error is what this comes to.
pub(super) async fn send<B>(
    mut request: Request<B>,
    socket: &Path,
) -> anyhow::Result<Response<Incoming>>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let lost = || format!("the daemon at {} does not answer", socket.display());
    let stream = UnixStream::connect(socket).await.with_context(lost)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .with_context(lost)?;
    let host = HeaderValue::from_static("hull");
    request.headers_mut().insert(HOST, host);
    // It drives the exchange, and ends with it.
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.with_context(lost)?;
    let status = response.status();
    // What is as it was asked to be already is no error.
    let is_done = [StatusCode::SWITCHING_PROTOCOLS, StatusCode::NOT_MODIFIED].contains(&status);
    if status.is_success() || is_done {
        return Ok(response);
    }
    let body = whole(response).await.with_context(lost)?;
    Err(refusal(status.as_u16(), &body).into())
}

/// All of an answer's body.
pub(super) async fn whole(response: Response<Incoming>) -> anyhow::Result<Bytes> {
    let body = Limited::new(response.into_body(), LONGEST_ANSWER);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            anyhow::bail!("its answer has more than {LONGEST_ANSWER} bytes")
        }
        Err(error) => Err(anyhow::Error::from_boxed(error)),
    }
}

fn refusal(status: u16, body: &[u8]) -> Said {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_else(|_| Refusal {
        message: format!(
            "the daemon answered with status {status}: {}",
            String::from_utf8_lossy(body).trim()
        ),
        code: None,
    });
    Said {
        status,
        message: refusal.message,
        code: refusal.code,
    }
}
