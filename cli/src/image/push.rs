//! `hull image push`.

use std::process::ExitCode;

use anyhow::{bail, ensure};
use hull_image::{Platform, PushOptions, Reference, registry};

use super::progress::{self, Way};
use super::store;
use crate::complete;
use crate::context::Context;
use crate::out;
use crate::trust::Trust;

/// Send an image to a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull tag app localhost:5000/team/app:2          the name says which registry and where in it\n  \
    hull image push localhost:5000/team/app:2\n  \
    hull image push --all-tags ghcr.io/owner/app    all tags that the repository has on this machine\n\n\
    Credentials are those of hull login, which are Docker's (~/.docker/config.json and its helpers). What the registry has is not\n\
    sent again, and an upload that was interrupted goes on where it stopped.")]
pub(crate) struct PushArgs {
    /// What to send: [REGISTRY/]REPOSITORY[:TAG]
    #[arg(value_name = "NAME[:TAG]", add = complete::images())]
    name: String,
    /// All tags that the repository has on this machine
    #[arg(short, long)]
    all_tags: bool,
    /// Show only the name at the end
    #[arg(short, long)]
    quiet: bool,
    /// The platform that the image must be for, such as linux/amd64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// A registry that may be reached without TLS, besides those of the configuration file
    #[arg(long, value_name = "HOST[:PORT]")]
    insecure_registry: Vec<String>,
    #[command(flatten)]
    _trust: Trust,
}

pub(super) async fn run(args: PushArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let reference: Reference = args.name.parse()?;
    let store = store(ctx)?;
    let has_tag = !Reference::is_bare(&args.name);
    let names = if args.all_tags {
        ensure!(!has_tag, "tag can't be used with --all-tags/-a");
        let all = store.list()?.into_iter().flat_map(|image| image.names);
        let mut all: Vec<Reference> = all.filter(|name| name.name() == reference.name()).collect();
        all.sort();
        all
    } else {
        vec![reference.clone()]
    };
    if names.is_empty() {
        bail!(
            "An image does not exist locally with the tag: {}",
            reference.familiar_name()
        );
    }
    let mut registries = registry::Config::from_env()?;
    registries.insecure.extend(args.insecure_registry);
    let options = PushOptions {
        platform: args.platform,
        registries,
    };
    if !args.quiet {
        if !has_tag && !args.all_tags {
            out::line("Using default tag: latest")?;
        }
        out::line(&format!(
            "The push refers to repository [{}]",
            reference.name()
        ))?;
    }
    for name in names {
        let progress = progress::choose(args.quiet, Way::Out);
        let pushed = store.push(&name, &options, progress).await?;
        if args.quiet {
            out::line(&name.to_string())?;
        } else {
            let tag = name.tag().unwrap_or_default();
            out::line(&format!(
                "{tag}: digest: {} size: {}",
                pushed.digest, pushed.size
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
