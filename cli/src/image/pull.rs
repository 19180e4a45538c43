//! `hull image pull`.

use std::process::ExitCode;

use hull_image::{Platform, PullOptions, Pulled, Reference, registry};

use super::progress::{self, Way};
use super::store;
use crate::context::Context;
use crate::out;
use crate::trust::Trust;

/// Fetch an image from a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull image pull busybox                         from Docker Hub\n  \
    hull image pull ghcr.io/owner/app:1.2           from another registry\n  \
    hull image pull localhost:5000/app              without TLS, since it is this machine\n  \
    hull image pull debian@sha256:<64 digits>       exactly that one\n\n\
    Credentials are those of hull login, which are Docker's (~/.docker/config.json and its helpers). What was downloaded before\n\
    an interruption is not downloaded again.")]
pub(crate) struct PullArgs {
    /// What to fetch: [REGISTRY/]REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Show only the name at the end
    #[arg(short, long)]
    quiet: bool,
    /// The platform to take where there is a choice, such as linux/amd64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// A registry that may be reached without TLS, besides those of the configuration file
    #[arg(long, value_name = "HOST[:PORT]")]
    insecure_registry: Vec<String>,
    #[command(flatten)]
    _trust: Trust,
}

pub(super) async fn run(args: PullArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let reference: Reference = args.image.parse()?;
    let mut registries = registry::Config::from_env()?;
    registries.insecure.extend(args.insecure_registry);
    let options = PullOptions {
        platform: args.platform,
        registries,
    };
    let pulled = fetch(&reference, &options, args.quiet, ctx).await?;
    if !args.quiet {
        out::line(&format!("Digest: {}", pulled.digest))?;
        out::line(&format!("Status: {}", status(&reference, &pulled)))?;
    }
    out::line(&reference.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Fetches what `reference` names, for another command: whatever is shown goes to standard error.
pub(crate) async fn pull(
    reference: &str,
    platform: Option<Platform>,
    quiet: bool,
    ctx: &Context,
) -> anyhow::Result<()> {
    let reference: Reference = reference.parse()?;
    let options = PullOptions {
        platform,
        registries: registry::Config::from_env()?,
    };
    let pulled = fetch(&reference, &options, quiet, ctx).await?;
    if !quiet {
        anstream::eprintln!("{}", status(&reference, &pulled));
    }
    Ok(())
}

async fn fetch(
    reference: &Reference,
    options: &PullOptions,
    quiet: bool,
    ctx: &Context,
) -> anyhow::Result<Pulled> {
    if !quiet {
        anstream::eprintln!("Pulling {}", reference.familiar());
    }
    let progress = progress::choose(quiet, Way::In);
    Ok(store(ctx)?.pull(reference, options, progress).await?)
}

fn status(reference: &Reference, pulled: &Pulled) -> String {
    let name = reference.familiar();
    if pulled.is_new {
        format!("Downloaded newer image for {name}")
    } else {
        format!("Image is up to date for {name}")
    }
}
