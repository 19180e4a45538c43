//! `hull image tag`.

use std::process::ExitCode;

use hull_image::Reference;

use super::store;
use crate::complete;
use crate::context::Context;

/// Give an image another name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull image tag busybox localhost:5000/busybox:mine\n  \
    hull image tag 3f5ef9003cef app:stable          the name is taken from another image if need be")]
pub(crate) struct TagArgs {
    /// The image: a name, an id, or the beginning of an id
    #[arg(value_name = "SOURCE", add = complete::images())]
    source: String,
    /// Its new name; the tag is latest if there is none
    #[arg(value_name = "TARGET[:TAG]")]
    target: Reference,
}

pub(super) fn run(args: &TagArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    store(ctx)?.tag(&args.source, &args.target)?;
    Ok(ExitCode::SUCCESS)
}
