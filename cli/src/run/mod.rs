//! `hull run`: a container in the foreground, from its options to its exit code.

mod args;
mod client;
mod env;
mod job;
mod options;
pub(crate) mod signals;
pub(crate) mod spinner;
pub(crate) mod streams;
pub(crate) mod terminal;
pub(crate) mod timing;

use std::process::ExitCode;

use anyhow::Context as _;
use hull_engine::{Changes, Engine, Error, Origin};

pub(crate) use args::Args;
pub(crate) use client::{Client, How};

use crate::context::Context;

/// Docker's exit code for what fails before a process runs.
const FAILED: u8 = 125;

/// Runs a container to its end and returns its exit code.
pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    match foreground(args, ctx).await {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) => {
            anstream::eprintln!("hull: {error:#}");
            let code = error
                .downcast_ref::<Error>()
                .map_or(FAILED, Error::exit_code);
            Ok(ExitCode::from(code))
        }
    }
}

async fn foreground(args: Args, ctx: &Context) -> anyhow::Result<u8> {
    let mut clock = timing::Clock::start(&args);
    if let Some(snapshot) = &args.from {
        return from_snapshot(&args, snapshot, clock, ctx).await;
    }
    let config = options::container(&args)?;
    Engine::check(&config)?;
    terminal::check(&args)?;
    let engine = Engine::open(ctx.paths().clone())?;
    let reference = &config.image;
    let created = match args.pull {
        args::Pull::Always => {
            pull(reference, &args, ctx).await?;
            engine.create(config).await?
        }
        args::Pull::Never => engine.create(config).await?,
        args::Pull::Missing => match engine.create(config.clone()).await {
            Err(Error::Image(hull_image::store::Error::NotFound(_))) => {
                anstream::eprintln!("Unable to find image '{reference}' locally");
                pull(reference, &args, ctx).await?;
                engine.create(config).await?
            }
            created => created?,
        },
    };
    clock.step("image");
    if let Some(path) = &args.cidfile
        && let Err(error) = options::write_cidfile(path, &created.id)
    {
        engine.remove(&created.id, true).await?;
        return Err(error);
    }
    let how = How {
        tty: args.tty,
        interactive: args.interactive,
        sig_proxy: args.sig_proxy,
        origin: match args.cold {
            true => Origin::Boot,
            false => Origin::Nearest,
        },
    };
    Client::new(&engine, &created.id, how).run(&mut clock).await
}

/// Goes on from a snapshot. What the program was started with is as it was.
async fn from_snapshot(
    args: &Args,
    snapshot: &str,
    mut clock: timing::Clock,
    ctx: &Context,
) -> anyhow::Result<u8> {
    let engine = Engine::open(ctx.paths().clone())?;
    let changes = Changes {
        name: args.name.clone(),
        auto_remove: args.rm,
        hostname: args.hostname.clone(),
        labels: options::labels(args)?,
    };
    let created = engine.create_from(snapshot, changes).await?;
    clock.step("snapshot");
    let mut how = How::of(&engine.config(&created.id)?);
    how.sig_proxy = args.sig_proxy;
    Client::new(&engine, &created.id, how).run(&mut clock).await
}

async fn pull(reference: &str, args: &Args, ctx: &Context) -> anyhow::Result<()> {
    crate::image::pull(reference, args.quiet, ctx)
        .await
        .with_context(|| format!("image {reference} cannot be pulled"))
}
