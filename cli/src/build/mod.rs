//! `hull build`: an image of a Dockerfile, built by the daemon.

mod archive;
mod context;
mod output;
mod parameters;
mod pipe;
pub(crate) mod prune;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bollard::models::ResourcesUlimits;
use hull_image::registry::Keyring;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request};
use serde_json::{Map, Value};

use crate::client::Daemon;
use crate::context::Context;
use crate::pairs::pair;
use crate::run::ulimit;
use crate::trust::Trust;
use output::Output;

/// Build an image of a Dockerfile
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is sent is the directory without what its .dockerignore (or DOCKERFILE.dockerignore) leaves\n\
    out. Each RUN runs in a microVM of its own. Steps whose result is known are not done again.\n\n\
    Examples:\n  \
    hull build -t app .\n  \
    hull build -t app:2 --build-arg VERSION=2 --target server -f docker/Dockerfile .\n  \
    hull build - < Dockerfile                       without any files\n  \
    tar c . | hull build -t app -                   a context from somewhere else\n  \
    hull build --iidfile id --network none --memory 1g ."
)]
pub(crate) struct Args {
    /// Another name for the hosts that RUN knows
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(super) add_host: Vec<String>,
    /// A variable of the Dockerfile (ARG); without a value that of the environment
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = parameters::argument)]
    pub(super) build_arg: Vec<(String, Option<String>)>,
    /// Images whose steps may be taken over
    #[arg(long, value_name = "IMAGE", value_delimiter = ',', hide = true)]
    pub(super) cache_from: Vec<String>,
    /// The control group that containers are in
    #[arg(long, value_name = "GROUP", hide = true)]
    pub(super) cgroup_parent: Option<String>,
    /// Compress what is sent; to a daemon on this machine that takes longer than it saves
    #[arg(long)]
    pub(super) compress: bool,
    /// The period of --cpu-quota in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(super) cpu_period: Option<i64>,
    /// Processor time of a RUN in microseconds per period
    #[arg(long, value_name = "MICROSECONDS")]
    pub(super) cpu_quota: Option<i64>,
    /// The weight of a RUN among others that want the processor
    #[arg(short, long, value_name = "WEIGHT")]
    pub(super) cpu_shares: Option<i64>,
    /// The processors of the host that a RUN may use
    #[arg(long, value_name = "CPUS", hide = true)]
    pub(super) cpuset_cpus: Option<String>,
    /// The memory nodes of the host that a RUN may use
    #[arg(long, value_name = "NODES", hide = true)]
    pub(super) cpuset_mems: Option<String>,
    /// The Dockerfile, or - for standard input; PATH/Dockerfile if not given
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Remove the containers of steps that fail, too
    #[arg(long)]
    pub(super) force_rm: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub(super) iidfile: Option<PathBuf>,
    /// A label of the image
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = pair)]
    pub(super) label: Vec<(String, String)>,
    /// Memory of a RUN, such as 512m
    #[arg(short, long, value_name = "SIZE", value_parser = parameters::size)]
    pub(super) memory: Option<i64>,
    /// Memory and swap of a RUN together; -1 for any amount of swap
    #[arg(long, value_name = "SIZE", value_parser = parameters::swap, allow_negative_numbers = true)]
    pub(super) memory_swap: Option<i64>,
    /// The network of a RUN
    #[arg(long, value_name = "NETWORK", default_value = "default")]
    pub(super) network: String,
    /// Do all steps anew
    #[arg(long)]
    pub(super) no_cache: bool,
    /// What the image is for, such as linux/amd64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(super) platform: Option<String>,
    /// How progress is shown; steps are always told one after the other, as plain text
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Progress::Auto)]
    pub(super) progress: Progress,
    /// Ask registries for newer images even if the ones that are named are here
    #[arg(long)]
    pub(super) pull: bool,
    /// Show nothing but the image's id
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Remove the containers of steps that succeed
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(super) rm: bool,
    /// A security option of a RUN
    #[arg(long, value_name = "OPTION", value_delimiter = ',')]
    pub(super) security_opt: Vec<String>,
    /// Bytes of /dev/shm of a RUN, such as 128m
    #[arg(long, value_name = "SIZE", value_parser = parameters::size)]
    pub(super) shm_size: Option<i64>,
    /// Make one layer of all that are new
    #[arg(long, hide = true)]
    pub(super) squash: bool,
    /// A name of the image
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(super) tag: Vec<String>,
    /// The stage to build; the last one if not given
    #[arg(long, value_name = "STAGE")]
    pub(super) target: Option<String>,
    /// A resource limit of a RUN
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = ulimit)]
    pub(super) ulimit: Vec<ResourcesUlimits>,
    /// The directory whose files can be copied into the image, an address of a Dockerfile or an archive, or - for
    /// standard input, which is either of these
    #[arg(value_name = "PATH|URL|-")]
    pub(super) path: String,
    #[command(flatten)]
    _trust: Trust,
}

/// Builds
#[derive(Debug, clap::Args)]
pub(crate) struct BuilderArgs {
    #[command(subcommand)]
    command: BuilderCommand,
}

#[derive(Debug, clap::Subcommand)]
enum BuilderCommand {
    Build(Box<Args>),
    Prune(prune::Args),
}

/// `hull builder`.
pub(crate) async fn builder(args: BuilderArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        BuilderCommand::Build(args) => run(*args, ctx).await,
        BuilderCommand::Prune(args) => prune::run(args, ctx).await,
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Progress {
    /// Bars for what is pulled, on a terminal.
    Auto,
    /// Lines.
    Plain,
    /// As auto.
    Tty,
    /// Nothing but the image's id.
    Quiet,
}

pub(crate) async fn run(mut args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    args.quiet |= args.progress == Progress::Quiet;
    if let Some(path) = &args.iidfile {
        // What is there afterwards is of this build.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot write {}", path.display()));
            }
            _ => {}
        }
    }
    // What is wrong with the options is said before anybody is asked.
    let context = context::find(&args)?;
    let path = parameters::path(&args, &context);
    let daemon = Daemon::connect(ctx).await?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&path)
        .header(CONTENT_TYPE, "application/x-tar");
    if let Some(header) = tokio::task::spawn_blocking(credentials).await? {
        request = request.header("X-Registry-Config", header);
    }
    let sending = pipe::send(context, &args);
    let response = daemon.send(request.body(sending.body)?).await;
    let sent = sending.done.await?;
    let response = match (response, sent) {
        // What could not be read is why the daemon got no more.
        (_, Err(error)) => return Err(error),
        (response, Ok(_)) => response?,
    };
    let mut output = Output::new(&args);
    let failed = output.follow(response.into_body()).await?;
    if let Some(failed) = failed {
        return Ok(failed);
    }
    if let Some(path) = &args.iidfile {
        write_id(path, output.image())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_id(path: &Path, id: Option<&str>) -> anyhow::Result<()> {
    let id = id.context("the daemon did not say the image's id")?;
    std::fs::write(path, id).with_context(|| format!("cannot write {}", path.display()))
}

/// All that registries are to be shown: only the daemon knows of which the Dockerfile names images.
fn credentials() -> Option<String> {
    let keyring = Keyring::from_env()?;
    let all = keyring.all().unwrap_or_else(|error| {
        tracing::warn!(%error, "registries are asked without credentials");
        Default::default()
    });
    let all: Map<String, Value> = all
        .into_iter()
        .map(|(registry, credentials)| (registry, credentials.to_json()))
        .collect();
    (!all.is_empty()).then(|| URL_SAFE.encode(Value::Object(all).to_string()))
}
