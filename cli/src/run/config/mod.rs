//! From options to the body that makes a container.
//!
//! What a client knows better than the daemon is done here: files of this directory, variables of this environment, notations of the
//! command line. Whether a container can be had is for the daemon to say.

pub(crate) mod env;
mod files;
mod foreign;
mod health;
mod labels;
mod limits;
mod mount;
mod network;
mod ports;
mod process;

use anyhow::Context as _;
use bollard::models::{ContainerCreateBody, HostConfig};

pub(crate) use health::duration;
pub(crate) use labels::labels;
pub(crate) use limits::ulimit;

use super::args::ContainerArgs;
use crate::attach::terminal;

/// The container that these options ask for.
pub(crate) fn body(
    args: &ContainerArgs,
    image_and_command: &[String],
) -> anyhow::Result<ContainerCreateBody> {
    let (image, command) = image_and_command
        .split_first()
        .context("an image is needed")?;
    let basics = &args.basics;
    let mut host = HostConfig {
        auto_remove: Some(basics.rm),
        container_id_file: basics
            .cidfile
            .as_ref()
            .map(|path| path.display().to_string()),
        // A terminal that is too small for its first line would show it wrong.
        console_size: terminal::size()
            .filter(|_| args.process.tty)
            .map(|(rows, columns)| vec![rows.into(), columns.into()]),
        ..HostConfig::default()
    };
    let mut body = ContainerCreateBody {
        image: Some(image.clone()),
        cmd: Some(command.to_vec()).filter(|command| !command.is_empty()),
        hostname: basics.hostname.clone(),
        labels: Some(labels(basics)?),
        ..ContainerCreateBody::default()
    };
    process::apply(&args.process, &mut body, &mut host)?;
    files::apply(&args.files, &mut body, &mut host)?;
    limits::apply(&args.limits, &mut host)?;
    ports::apply(&args.network, &mut body, &mut host)?;
    foreign::apply(&args.foreign, &mut host)?;
    body.healthcheck = health::check(&args.health);
    body.networking_config = Some(network::apply(
        &args.network,
        &args.foreign,
        &mut body,
        &mut host,
    )?);
    body.host_config = Some(host);
    Ok(body)
}

/// A list, if there is anything in it.
fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

#[cfg(test)]
mod tests;
