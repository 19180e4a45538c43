//! `hull commit`: an image of a container's files.

use std::process::ExitCode;

use clap::ArgAction;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Daemon, Exchange, escaped};
use crate::complete;
use crate::context::Context;
use crate::out;

/// Make an image of a container as it is now
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull commit web web:patched\n  \
    hull commit -c 'CMD [\"serve\"]' -c 'ENV MODE=test' web web:test")]
pub(crate) struct Args {
    /// Who made it
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// Change its configuration by an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What it is
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Let the container stand still meanwhile
    #[arg(short, long, default_value_t = true, default_missing_value = "true", value_name = "BOOL",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pause: bool,
    /// The container's name, its id, or the beginning of that
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
    /// The image's name; none where nothing is said
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    id: String,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::connect(ctx).await?;
    let (repository, tag) = split(args.name.as_deref().unwrap_or_default());
    let mut path = format!(
        "/commit?container={}&repo={}&tag={}&comment={}&author={}&pause={}",
        escaped(&args.container),
        escaped(repository),
        escaped(tag),
        escaped(args.message.as_deref().unwrap_or_default()),
        escaped(args.author.as_deref().unwrap_or_default()),
        args.pause
    );
    for change in &args.change {
        path.push_str("&changes=");
        path.push_str(&escaped(change));
    }
    let exchange = Exchange::new(Method::POST, path).with_json(&json!({}))?;
    let made: Made = crate::client::understood(daemon.exchange(exchange).await?).await?;
    out::line(&made.id)?;
    Ok(ExitCode::SUCCESS)
}

/// The repository and the tag of a name. The port of a registry is no tag.
fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split("a"), ("a", ""));
        assert_eq!(split("a:b"), ("a", "b"));
        assert_eq!(split("host:5000/a"), ("host:5000/a", ""));
        assert_eq!(split("host:5000/a:b"), ("host:5000/a", "b"));
    }
}
