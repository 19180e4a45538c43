//! What a path of a container is.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::{Method, Response};
use serde::Deserialize;

use super::places::{beside, is_dot, split};
use crate::client::{Daemon, Exchange, Said, escaped};

const HEADER: &str = "x-docker-container-path-stat";
/// Go's bits of a mode.
const DIRECTORY: u32 = 1 << 31;
const LINK: u32 = 1 << 27;

/// What the daemon says of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stat {
    mode: u32,
    link_target: String,
}

impl Stat {
    pub(super) fn is_dir(&self) -> bool {
        self.mode & DIRECTORY != 0
    }

    fn is_link(&self) -> bool {
        self.mode & LINK != 0
    }

    /// The one in an answer's head.
    pub(super) fn in_head(answer: &Response<Incoming>) -> anyhow::Result<Self> {
        let text = answer.headers().get(HEADER);
        let text = text.context("the daemon does not say what the path is")?;
        Ok(serde_json::from_slice(&STANDARD.decode(text)?)?)
    }

    /// What is at a path; nothing if that is not there.
    async fn at(daemon: &Daemon, container: &str, path: &str) -> anyhow::Result<Option<Self>> {
        let answer = daemon
            .exchange(Exchange::new(Method::HEAD, place(container, path)))
            .await;
        match answer {
            Ok(answer) => Self::in_head(&answer).map(Some),
            Err(error) => match error.downcast_ref::<Said>() {
                // An answer to this question has no room for a reason; whoever asks for the files is told it.
                Some(said) if (400..500).contains(&said.status) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// The same with a link at the end of the path followed once, as Docker does: what is there, and its path.
    pub(super) async fn followed(
        daemon: &Daemon,
        container: &str,
        path: &str,
    ) -> anyhow::Result<(Option<Self>, String)> {
        let stat = Self::at(daemon, container, path).await?;
        let Some(link) = stat.as_ref().filter(|stat| stat.is_link()) else {
            return Ok((stat, path.to_owned()));
        };
        let target = beside(path, &link.link_target);
        Ok((Self::at(daemon, container, &target).await?, target))
    }
}

/// The files of a container at a path, as the API has them.
pub(super) fn place(container: &str, path: &str) -> String {
    format!(
        "/containers/{}/archive?path={}",
        escaped(container),
        escaped(path)
    )
}

/// The path that a followed link at the end of `path` leads to, with what `path` says of a directory; and the name that the copy
/// has, where that is another one.
pub(super) fn resolved(path: &str, target: &str) -> (String, Option<String>) {
    let target = match (is_dot(path), path.ends_with('/')) {
        (true, _) => format!("{target}/."),
        (_, true) => format!("{target}/"),
        _ => target.to_owned(),
    };
    let name = split(path).1;
    let differs = split(&target).1 != name;
    (target, differs.then_some(name))
}
