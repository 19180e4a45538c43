//! `hull create`, and how `hull run` gets its container.

use std::process::ExitCode;

use anyhow::Context as _;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptions;

use super::args::{ContainerArgs, CreateArgs, Pull};
use super::cidfile::CidFile;
use super::config;
use crate::client::{Daemon, Said, said};
use crate::context::Context;
use crate::out;

/// Makes a container and prints its id.
pub(crate) async fn run(args: CreateArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let body = config::body(&args.container, &args.image_and_command)?;
    let daemon = Daemon::connect(ctx).await?;
    let id = create(&daemon, &args.container, body, ctx).await?;
    out::line(&id)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a container, of an image that is pulled before if that is wanted; its id.
pub(super) async fn create(
    daemon: &Daemon,
    args: &ContainerArgs,
    body: ContainerCreateBody,
    ctx: &Context,
) -> anyhow::Result<String> {
    let file = args
        .basics
        .cidfile
        .as_deref()
        .map(CidFile::make)
        .transpose()?;
    let reference = body.image.clone().unwrap_or_default();
    if args.image.pull == Pull::Always {
        pull(&reference, args, ctx).await?;
    }
    let id = match ask(daemon, args, body.clone()).await {
        Err(error) if args.image.pull == Pull::Missing && is_missing(&error) => {
            anstream::eprintln!("Unable to find image '{reference}' locally");
            pull(&reference, args, ctx).await?;
            ask(daemon, args, body).await?
        }
        made => made?,
    };
    note(daemon, file, &id).await?;
    Ok(id)
}

/// Writes down which container was made, if somebody wants that.
pub(super) async fn note(daemon: &Daemon, file: Option<CidFile>, id: &str) -> anyhow::Result<()> {
    if let Some(Err(error)) = file.map(|file| file.write(id)) {
        // Nobody would know it.
        daemon.delete(&format!("/containers/{id}")).await?;
        return Err(error);
    }
    Ok(())
}

async fn ask(
    daemon: &Daemon,
    args: &ContainerArgs,
    body: ContainerCreateBody,
) -> anyhow::Result<String> {
    let platform = args.image.platform.as_ref().map(ToString::to_string);
    let options = CreateContainerOptions {
        name: args.basics.name.clone(),
        platform: platform.unwrap_or_default(),
    };
    let made = daemon.docker().create_container(Some(options), body).await;
    let made = made.map_err(said)?;
    for warning in made.warnings {
        anstream::eprintln!("WARNING: {warning}");
    }
    Ok(made.id)
}

/// Whether the image is not there; networks and other containers that are not are no reason to pull one.
fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Said>().is_some_and(|said| {
        said.status == 404
            && ["No such image", "image with reference"]
                .iter()
                .any(|words| said.message.starts_with(words))
    })
}

async fn pull(reference: &str, args: &ContainerArgs, ctx: &Context) -> anyhow::Result<()> {
    let platform = args.image.platform.clone();
    crate::image::pull(reference, platform, args.image.quiet, ctx)
        .await
        .with_context(|| format!("image {reference} cannot be pulled"))
}
