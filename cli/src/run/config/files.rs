//! File systems.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use bollard::models::{ContainerCreateBody, HostConfig};
use hull_engine::parse_size;

use super::labels::pairs;
use super::{mount, some};
use crate::run::args::Files;

pub(super) fn apply(
    args: &Files,
    body: &mut ContainerCreateBody,
    host: &mut HostConfig,
) -> anyhow::Result<()> {
    let (mut binds, mut unnamed) = (Vec::new(), Vec::new());
    for text in &args.volume {
        match text.split_once(':') {
            Some((source, rest)) => binds.push(format!("{}:{rest}", from_here(source)?)),
            // A volume without a name.
            None => unnamed.push(text.clone()),
        }
    }
    host.binds = some(&binds);
    body.volumes = some(&unnamed);
    let mounts: Vec<_> = args
        .mount
        .iter()
        .map(|text| mount::parse(text).with_context(|| format!("invalid --mount {text:?}")))
        .collect::<Result<_, _>>()?;
    host.mounts = some(&mounts);
    host.volumes_from = some(&args.volumes_from);
    let tmpfs: HashMap<_, _> = args
        .tmpfs
        .iter()
        .map(|text| {
            let (path, options) = text.split_once(':').unwrap_or((text, ""));
            (path.to_owned(), options.to_owned())
        })
        .collect();
    host.tmpfs = Some(tmpfs).filter(|tmpfs| !tmpfs.is_empty());
    host.readonly_rootfs = Some(args.read_only);
    host.shm_size = args.shm_size.as_deref().map(size).transpose()?;
    host.storage_opt = pairs("--storage-opt", &args.storage_opt)?;
    Ok(())
}

/// A path that begins with a dot is one of this directory, of which the daemon knows nothing.
pub(super) fn from_here(source: &str) -> anyhow::Result<String> {
    if !source.starts_with('.') {
        return Ok(source.to_owned());
    }
    let path = std::path::absolute(Path::new(source))
        .with_context(|| format!("the directory of {source:?} is not known"))?;
    let text = path.to_str();
    Ok(text
        .with_context(|| format!("{} is no text in UTF-8", path.display()))?
        .to_owned())
}

/// A size as the API has it.
pub(super) fn size(text: &str) -> anyhow::Result<i64> {
    Ok(i64::try_from(parse_size(text)?).unwrap_or(i64::MAX))
}
