//! `hull image inspect`.

use std::process::ExitCode;

use hull_image::docker;

use super::store;
use crate::complete;
use crate::context::Context;
use crate::inspect::{How, Kind};

/// Show everything about images, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull image inspect busybox\n  \
    hull image inspect -f '{{json .Config.Env}}' debian")]
pub(crate) struct InspectArgs {
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "IMAGE", required = true, add = complete::images())]
    images: Vec<String>,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(args: &InspectArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let form = args.how.form()?;
    let store = store(ctx)?;
    let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for image in &args.images {
        match store.inspect(image) {
            Ok(details) => {
                let object = docker::inspect(&details)?.to_string();
                found.push((Kind::Image, object.into()));
            }
            Err(error) => code = crate::fail(&error.into()),
        }
    }
    form.print(&found)?;
    Ok(code)
}
