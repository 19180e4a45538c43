//! Connections that carry a program's streams.
//!
//! The daemon says in its answer's head whether output is in frames. `bollard` guesses it from the bytes instead, which a program on a
//! terminal may print itself, so these requests are made beside it.

use std::pin::Pin;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::StreamReader;

use super::Output;
use crate::client::{Daemon, Exchange, escaped};

/// A program's output and input.
pub(crate) struct Streams {
    pub(crate) output: Output,
    pub(crate) input: Pin<Box<dyn AsyncWrite + Send>>,
}

/// Which of a container's streams are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// Keys that leave a terminal, in Docker's words; empty for Docker's own.
    pub(crate) detach_keys: &'a str,
}

impl Streams {
    /// Attaches to a container, which need not run yet.
    pub(crate) async fn of_container(
        daemon: &Daemon,
        id: &str,
        wanted: Wanted<'_>,
    ) -> anyhow::Result<Self> {
        let Wanted {
            stdin,
            stdout,
            stderr,
            detach_keys,
        } = wanted;
        let path = format!(
            "/containers/{}/attach?stream=1&stdin={stdin}&stdout={stdout}&stderr={stderr}&detachKeys={}",
            escaped(id),
            escaped(detach_keys)
        );
        let exchange = Exchange::new(Method::POST, path).upgraded();
        Self::of(daemon.exchange(exchange).await?).await
    }

    /// Starts an exec, with a terminal of this size if it has one.
    pub(crate) async fn of_exec(
        daemon: &Daemon,
        id: &str,
        tty: bool,
        size: Option<(u16, u16)>,
    ) -> anyhow::Result<Self> {
        let mut body = json!({ "Detach": false, "Tty": tty });
        if let Some((rows, columns)) = size.filter(|_| tty) {
            body["ConsoleSize"] = json!([rows, columns]);
        }
        let path = format!("/exec/{}/start", escaped(id));
        let exchange = Exchange::new(Method::POST, path)
            .upgraded()
            .with_json(&body)?;
        Self::of(daemon.exchange(exchange).await?).await
    }

    /// What a container has said, and says from now on where the path follows it.
    pub(crate) async fn of_logs(daemon: &Daemon, path: String) -> anyhow::Result<Output> {
        let exchange = Exchange::new(Method::GET, path);
        let response = daemon.exchange(exchange).await?;
        let framed = is_framed(&response);
        Ok(Output::new(body(response), framed))
    }

    async fn of(response: Response<Incoming>) -> anyhow::Result<Self> {
        let framed = is_framed(&response);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            anyhow::bail!("the daemon did not hand over its connection");
        }
        let upgraded = TokioIo::new(hyper::upgrade::on(response).await?);
        let (from, to) = tokio::io::split(upgraded);
        Ok(Self {
            output: Output::new(from, framed),
            input: Box::pin(to),
        })
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams")
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

fn is_framed(response: &Response<Incoming>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind == "application/vnd.docker.multiplexed-stream")
}

/// The bytes of an answer as they come.
fn body(response: Response<Incoming>) -> impl AsyncRead + Send + 'static {
    use futures_util::TryStreamExt as _;
    use http_body_util::BodyExt as _;
    let data = response.into_body().into_data_stream();
    StreamReader::new(data.map_err(std::io::Error::other))
}
