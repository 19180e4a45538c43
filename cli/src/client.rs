//! The daemon, as its client sees it: the Docker Engine API by `bollard`, and Hull's own routes beside it.

mod exchange;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bollard::{ClientVersion, Docker};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, Response};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;

pub(crate) use exchange::{Exchange, escaped};

use crate::context::Context;
use crate::own;

/// The version of the API that the daemon speaks.
const VERSION: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 51,
};
/// Answers are waited for as long as it takes: a start may have a boot before it, and a wait a program. In seconds.
const PATIENCE: u64 = 100 * 365 * 24 * 60 * 60;
/// Held by who starts the daemon, in the runtime directory.
const STARTING: &str = "daemon.starting";

/// The daemon.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    docker: Docker,
    socket: PathBuf,
}

/// What the daemon said instead of doing what it was asked.
#[derive(Debug, Error)]
#[error("{message}")]
pub(crate) struct Said {
    /// The HTTP status.
    pub(crate) status: u16,
    /// One sentence.
    pub(crate) message: String,
    /// What the command exits with, where that is no matter of the status: 125, 126 or 127.
    pub(crate) code: Option<u8>,
}

impl Daemon {
    /// Connects to the daemon of this context, and starts one when none listens.
    pub(crate) async fn connect(ctx: &Context) -> anyhow::Result<Self> {
        let socket = ctx.paths().socket();
        if !listens(&socket).await? {
            start(ctx, &socket).await?;
        }
        Self::at(socket)
    }

    /// The daemon of this context if one listens, for those who do without.
    pub(crate) async fn running(ctx: &Context) -> anyhow::Result<Option<Self>> {
        let socket = ctx.paths().socket();
        match listens(&socket).await? {
            true => Self::at(socket).map(Some),
            false => Ok(None),
        }
    }

    fn at(socket: PathBuf) -> anyhow::Result<Self> {
        let path = socket.to_str();
        let path =
            path.with_context(|| format!("the path {} is no text in UTF-8", socket.display()))?;
        let docker = Docker::connect_with_unix(path, PATIENCE, &VERSION).map_err(said)?;
        Ok(Self { docker, socket })
    }

    /// The Docker Engine API.
    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// What a route has to say: Hull's own, or one whose answer is wanted as it is.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Exchange::new(Method::GET, path)).await
    }

    /// Has one of Hull's own routes do something.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.ask(Exchange::new(Method::POST, path).with_json(body)?)
            .await
    }

    /// Has one of Hull's own routes remove something.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.ask(Exchange::new(Method::DELETE, path)).await
    }

    /// Sends one request, and has its answer as it comes. What the daemon refuses is an error, which is [`Said`].
    pub(crate) async fn exchange(&self, exchange: Exchange) -> anyhow::Result<Response<Incoming>> {
        exchange.with(&self.socket).await
    }

    /// The same with a request whose body may still be in the making.
    pub(crate) async fn send<B>(&self, request: Request<B>) -> anyhow::Result<Response<Incoming>>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        exchange::send(request, &self.socket).await
    }

    /// Asks for something, and has the whole answer as it is.
    pub(crate) async fn bytes(&self, path: &str) -> anyhow::Result<Bytes> {
        let exchange = Exchange::new(Method::GET, path);
        let answer = self.exchange(exchange).await?;
        exchange::whole(answer)
            .await
            .context("the daemon does not answer")
    }

    async fn ask<T: DeserializeOwned>(&self, exchange: Exchange) -> anyhow::Result<T> {
        understood(self.exchange(exchange).await?).await
    }
}

/// What an answer says.
pub(crate) async fn understood<T: DeserializeOwned>(
    answer: Response<Incoming>,
) -> anyhow::Result<T> {
    let body = exchange::whole(answer)
        .await
        .context("the daemon does not answer")?;
    // Nothing is null, for those who ask for `()`.
    let text: &[u8] = if body.is_empty() { b"null" } else { &body };
    serde_json::from_slice(text).context("the daemon's answer is not understood")
}

/// The version of the API that is spoken.
pub(crate) fn version() -> String {
    format!("{}.{}", VERSION.major_version, VERSION.minor_version)
}

/// What `--filter KEY=VALUE`, given several times, asks for.
pub(crate) fn filters(texts: &[String]) -> anyhow::Result<HashMap<String, Vec<String>>> {
    let mut all: HashMap<String, Vec<String>> = HashMap::new();
    for text in texts {
        let Some((key, value)) = text.split_once('=') else {
            bail!("invalid filter {text:?}: KEY=VALUE is expected");
        };
        let key = key.trim().to_lowercase();
        all.entry(key).or_default().push(value.trim().to_owned());
    }
    Ok(all)
}

/// What the daemon said, in its own words; or why it said nothing.
pub(crate) fn said(error: bollard::errors::Error) -> anyhow::Error {
    use bollard::errors::Error;
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => Said {
            status: status_code,
            message,
            code: None,
        }
        .into(),
        Error::DockerStreamError { error } => anyhow::Error::msg(error),
        error => anyhow::Error::new(error).context("the daemon does not answer"),
    }
}

/// Whether somebody listens at a socket.
async fn listens(socket: &Path) -> anyhow::Result<bool> {
    match UnixStream::connect(socket).await {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Ok(false),
            ErrorKind::PermissionDenied => bail!(
                "the daemon's socket {} is not yours to use: become root, or a member of the socket's group",
                socket.display()
            ),
            _ => Err(error).with_context(|| format!("the daemon's socket {}", socket.display())),
        },
    }
}

/// Starts the daemon, unless somebody else is faster.
async fn start(ctx: &Context, socket: &Path) -> anyhow::Result<()> {
    let run = ctx.paths().run().to_owned();
    let turn = tokio::task::spawn_blocking(move || take_turn(&run));
    // Until the daemon listens, however this comes to its end.
    let _turn = turn.await?.with_context(|| {
        let run = ctx.paths().run().display();
        format!("the daemon cannot be started, for {run} cannot be used")
    })?;
    if !listens(socket).await? {
        own::leave("the daemon", &["daemon", "--background"]).await?;
    }
    Ok(())
}

fn take_turn(run: &Path) -> io::Result<File> {
    fs::create_dir_all(run)?;
    let lock = File::create(run.join(STARTING))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}
