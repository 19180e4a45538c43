//! `hull completion`: what a shell calls at a press of Tab, and what it is answered.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptions, ListVolumesOptions,
};
use clap::ValueEnum;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use clap_complete::{ArgValueCompleter, CompletionCandidate};
use hull_image::Store;

use crate::client::Daemon;
use crate::context::Context;

/// By this variable a shell asks.
pub(crate) const ASKED: &str = "HULL_COMPLETE";
/// Who waits for a Tab does not wait for long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Print what makes a shell complete hull's commands, options and what they name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    source <(hull completion bash)                                     in ~/.bashrc\n  \
    source <(hull completion zsh)                                      in ~/.zshrc, behind compinit\n  \
    hull completion fish > ~/.config/fish/completions/hull.fish")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let shell: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    shell
        .write_registration(ASKED, "hull", "hull", "hull", &mut script)
        .context("there is no script for this shell")?;
    let written = std::io::stdout().lock().write_all(&script);
    written.context("the script cannot be printed")?;
    Ok(ExitCode::SUCCESS)
}

/// Completes names of containers.
pub(crate) fn containers() -> ArgValueCompleter {
    by_daemon(async |daemon: Daemon| {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let all = daemon.docker().list_containers(Some(options)).await.ok()?;
        let names = all
            .into_iter()
            .flat_map(|one| one.names.unwrap_or_default());
        Some(
            names
                .map(|name| name.trim_start_matches('/').to_owned())
                .collect(),
        )
    })
}

/// Completes names of volumes.
pub(crate) fn volumes() -> ArgValueCompleter {
    by_daemon(async |daemon: Daemon| {
        let all = daemon
            .docker()
            .list_volumes(None::<ListVolumesOptions>)
            .await
            .ok()?;
        let names = all.volumes.unwrap_or_default().into_iter();
        Some(names.map(|one| one.name).collect())
    })
}

/// Completes names of networks.
pub(crate) fn networks() -> ArgValueCompleter {
    by_daemon(async |daemon: Daemon| {
        let all = daemon
            .docker()
            .list_networks(None::<ListNetworksOptions>)
            .await
            .ok()?;
        Some(all.into_iter().filter_map(|one| one.name).collect())
    })
}

/// Completes what the daemon knows, if one listens: none is started at a press of Tab.
fn by_daemon<F>(names: F) -> ArgValueCompleter
where
    F: AsyncFn(Daemon) -> Option<BTreeSet<String>> + Send + Sync + 'static,
{
    ArgValueCompleter::new(move |typed: &OsStr| {
        matching(typed, |ctx| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .ok()?;
            runtime.block_on(async {
                let asked = async { names(Daemon::running(ctx).await.ok()??).await };
                tokio::time::timeout(PATIENCE, asked).await.ok()?
            })
        })
    })
}

/// Completes names of images.
pub(crate) fn images() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        matching(typed, |ctx| {
            let all = Store::open(&ctx.images()).ok()?.list().ok()?;
            let names = all.iter().flat_map(|one| &one.names);
            Some(names.map(|name| name.familiar()).collect())
        })
    })
}

/// Those of `all` that begin so. Nothing is made where there is no directory of Hull's yet.
fn matching(
    typed: &OsStr,
    all: impl FnOnce(&Context) -> Option<BTreeSet<String>>,
) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let ctx = Context::from_env().ok().filter(|ctx| ctx.images().is_dir());
    ctx.and_then(|ctx| all(&ctx))
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.starts_with(&*typed))
        .map(CompletionCandidate::new)
        .collect()
}
