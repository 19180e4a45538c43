//! `hull image inspect`.

use std::process::ExitCode;

use hull_image::store::Details;
use serde_json::{Value, json};

use super::store;
use crate::context::Context;

/// Show everything about images, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull image inspect busybox\n  \
    hull image inspect debian | jq -r '.[0].Config.Env[]'")]
pub(crate) struct InspectArgs {
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

pub(super) fn run(args: &InspectArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    let store = store(ctx)?;
    let mut code = ExitCode::SUCCESS;
    let mut found = Vec::new();
    for image in &args.images {
        match store.inspect(image) {
            Ok(details) => found.push(object(&details)?),
            Err(error) => code = crate::fail(&error.into()),
        }
    }
    anstream::println!("{}", serde_json::to_string_pretty(&found)?);
    Ok(code)
}

/// The fields of `docker image inspect`; the configuration as it came, in which the engine's types may lack something.
fn object(details: &Details) -> anyhow::Result<Value> {
    let summary = &details.summary;
    let config: Value = serde_json::from_slice(details.config.bytes())?;
    let field = |name: &str| config.get(name).cloned().unwrap_or_default();
    let names: Vec<String> = summary.names.iter().map(|name| name.familiar()).collect();
    let digests = summary.digests.iter();
    let digests: Vec<String> = digests.map(|digest| digest.familiar()).collect();
    Ok(json!({
        "Id": summary.id,
        "RepoTags": names,
        "RepoDigests": digests,
        "Created": field("created"),
        "Author": field("author"),
        "Architecture": field("architecture"),
        "Variant": field("variant"),
        "Os": field("os"),
        "Size": summary.size,
        "Config": field("config"),
        "RootFS": {"Type": "layers", "Layers": details.config.layers()},
        "Metadata": {"LastTagTime": summary.added},
    }))
}
