//! Connections that a request takes over: after the answer's head they carry a program's streams and no more HTTP.
//!
//! A client that asks for it (`Connection: Upgrade`, `Upgrade: tcp`) is answered `101 UPGRADED`; from then on the bytes go both
//! ways, and the end of what it sends is not the end of what it gets. One that does not ask gets the output as the body of a 200.

use std::convert::Infallible;
use std::pin::Pin;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hull_engine::supervisor::Detach;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use crate::detach::DetachKeys;
use crate::version::{ApiVersion, NEWEST};

/// How much is copied at once, in bytes.
const CHUNK: usize = 16 << 10;

/// What a program says.
pub(crate) type Output = Pin<Box<dyn AsyncRead + Send>>;
/// What it is told.
pub(crate) type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// How a request wants its stream.
#[derive(Debug)]
pub(crate) struct Hijack {
    upgrade: Option<OnUpgrade>,
    version: ApiVersion,
}

/// A program's streams, and what the client's may do to them.
pub(crate) struct Session {
    pub(crate) output: Output,
    /// Nothing if the client is not attached to the program's input.
    pub(crate) input: Option<Input>,
    /// Whether the end of the client's input is the end of the program's. Else it is the end of the session.
    pub(crate) input_ends: bool,
    /// Keys that end the session, on a terminal.
    pub(crate) keys: Option<DetachKeys>,
    /// What lets the client leave without an end of the program's input.
    pub(crate) detach: Option<Detach>,
    /// Whether the output is a terminal's, which has no frames.
    pub(crate) tty: bool,
}

impl<S: Sync> FromRequestParts<S> for Hijack {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let asked = parts.headers.contains_key(UPGRADE);
        let upgrade = parts.extensions.remove::<OnUpgrade>().filter(|_| asked);
        let version = parts.extensions.get().copied().unwrap_or(NEWEST);
        Ok(Self { upgrade, version })
    }
}

impl Hijack {
    /// Whether bytes can go both ways.
    pub(crate) fn is_two_way(&self) -> bool {
        self.upgrade.is_some()
    }

    /// Answers with the streams of `session`.
    pub(crate) fn answer(self, session: Session) -> Response {
        let kind = content_type(session.tty, self.version);
        let Some(upgrade) = self.upgrade else {
            // Without an input, its end is not the program's either.
            drop(session.input);
            let body = Body::from_stream(ReaderStream::with_capacity(session.output, CHUNK));
            return ([(CONTENT_TYPE, kind)], body).into_response();
        };
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => session.run(TokioIo::new(upgraded)).await,
                Err(error) => tracing::debug!(%error, "a connection was not taken over"),
            }
        });
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        response
            .extensions_mut()
            .insert(ReasonPhrase::from_static(b"UPGRADED"));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
        response
    }
}

/// Streams in frames have a name of their own since version 1.42.
pub(crate) fn content_type(tty: bool, version: ApiVersion) -> &'static str {
    if tty || version < ApiVersion(1, 42) {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    }
}

impl Session {
    /// Carries bytes both ways until the output ends, the client leaves or detaches.
    pub(crate) async fn run(self, client: impl AsyncRead + AsyncWrite + Send) {
        let (from_client, mut to_client) = tokio::io::split(client);
        let Self {
            mut output,
            input,
            input_ends,
            keys,
            detach,
            ..
        } = self;
        let typing = async {
            // The end of what nobody listens to means nothing.
            let Some(mut input) = input else {
                return std::future::pending().await;
            };
            if feed(from_client, &mut input, keys, input_ends).await == Fed::Ended {
                std::future::pending::<()>().await;
            }
            if let Some(detach) = detach.filter(|_| !input_ends) {
                detach.detach();
            }
        };
        let showing = async {
            let copied = tokio::io::copy(&mut output, &mut to_client).await;
            tracing::debug!(?copied, "a stream ended");
        };
        tokio::select! {
            () = typing => (),
            () = showing => (),
        }
        // The client may be gone already.
        let _ = to_client.shutdown().await;
    }
}

/// How the client's input came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    /// The program's input is at its end, too, and its output goes on.
    Ended,
    /// The session is over.
    Left,
}

/// Carries the client's input to the program.
async fn feed(
    mut client: impl AsyncRead + Unpin,
    input: &mut Input,
    mut keys: Option<DetachKeys>,
    input_ends: bool,
) -> Fed {
    let (mut buffer, mut passed) = (vec![0; CHUNK], Vec::new());
    loop {
        let count = match client.read(&mut buffer).await {
            Ok(0) if input_ends => {
                // A program that closed its input has had its end.
                let _ = input.shutdown().await;
                return Fed::Ended;
            }
            Ok(0) | Err(_) => return Fed::Left,
            Ok(count) => count,
        };
        let typed = buffer.get(..count).unwrap_or_default();
        let written = match &mut keys {
            None => write(input, typed).await,
            Some(keys) => {
                passed.clear();
                let detached = keys.pass(typed, &mut passed);
                let written = write(input, &passed).await;
                if detached {
                    return Fed::Left;
                }
                written
            }
        };
        if written.is_err() {
            // Whoever does not listen any more may still have something to say.
            return Fed::Ended;
        }
    }
}

async fn write(input: &mut Input, bytes: &[u8]) -> std::io::Result<()> {
    input.write_all(bytes).await?;
    input.flush().await
}

#[cfg(test)]
mod tests;
