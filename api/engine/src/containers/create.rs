//! `POST /containers/create`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hull_engine::supervisor::{Container, Supervisor};
use hull_engine::{ContainerConfig, Engine, Mount, NetworkAttachment, clean_path};
use hull_image::Platform;
use hull_image::store::Details;
use serde_json::{Value, json};

use super::config::{self, CreateBody};
use super::{fields, merge};
use crate::body::{JsonBody, typed};
use crate::error::{ApiError, blocking};
use crate::params::Params;
use crate::router::Shared;

pub(crate) async fn create(
    State(supervisor): State<Shared>,
    params: Params,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let made = make(&supervisor, &params, body).await?;
    let answer = json!({ "Id": made.id().as_str(), "Warnings": [] }).to_string();
    let kind = [(CONTENT_TYPE, "application/json")];
    Ok((StatusCode::CREATED, kind, answer).into_response())
}

async fn make(
    supervisor: &Arc<Supervisor>,
    params: &Params,
    mut client: Value,
) -> Result<Arc<Container>, ApiError> {
    fields::refuse(&client)?;
    let body: CreateBody = typed(client.clone())?;
    if body.image.is_empty() {
        return Err(ApiError::invalid("no image was named: Image is missing"));
    }
    // What can be wrong whatever the image says comes first.
    let mut config = config::convert(&body)?;
    config.name = params
        .text("name")
        .map(|name| name.trim_start_matches('/').to_owned());
    Engine::check(&config)?;
    take_mounts(supervisor, &body.host_config.volumes_from, &mut config)?;
    let image = image(supervisor, &body.image, params.text("platform")).await?;
    merge::with_image(&mut client, &image);
    let merged: CreateBody = typed(client.clone())?;
    // Only what the client said, since the engine puts it together with the image itself.
    let mode = config::mode(&body)?;
    client["HostConfig"]["NetworkMode"] = json!(mode);
    check_links(supervisor, &config.networks)?;
    let networks = name_networks(supervisor, config.networks.clone()).await?;
    let config = ContainerConfig {
        networks,
        ports: config::published(&merged)?,
        command: command(&body, &merged),
        labels: merged.labels.clone(),
        health: config::health(&merged)?,
        ..config
    };
    let container = supervisor.create(config, client).await?;
    if let Some((rows, columns)) = body.console_size().filter(|_| body.tty) {
        container.resize(rows, columns).await?;
    }
    Ok(container)
}

/// Adds what other containers mount, where this one mounts nothing of its own.
fn take_mounts(
    supervisor: &Arc<Supervisor>,
    from: &[String],
    config: &mut ContainerConfig,
) -> Result<(), ApiError> {
    for text in from {
        let (name, read_only) = config::volumes_from(text)?;
        for mount in supervisor.find(name)?.config().mounts {
            let mut taken = config
                .mounts
                .iter()
                .map(|known| known.target.as_str())
                .chain(config.tmpfs.iter().filter_map(|tmpfs| tmpfs.path.to_str()));
            if !taken.any(|place| clean_path(place) == clean_path(&mount.target)) {
                config.mounts.push(Mount {
                    read_only: read_only.unwrap_or(mount.read_only) || mount.read_only,
                    ..mount
                });
            }
        }
    }
    Ok(())
}

/// Whether those whom a container has names for are there.
///
/// # Errors
/// One is not.
pub(crate) fn check_links(
    supervisor: &Supervisor,
    networks: &[NetworkAttachment],
) -> Result<(), ApiError> {
    for link in networks.iter().flat_map(|network| &network.links) {
        supervisor.find(&link.container).map_err(|error| {
            ApiError::invalid(format!(
                "could not get container for {}: {error}",
                link.container
            ))
        })?;
    }
    Ok(())
}

/// Networks may be meant by their identifiers; they are known by their names. One that is not there yet is looked for at the start.
async fn name_networks(
    supervisor: &Arc<Supervisor>,
    mut attachments: Vec<NetworkAttachment>,
) -> Result<Vec<NetworkAttachment>, ApiError> {
    let supervisor = Arc::clone(supervisor);
    let name = move || {
        for attachment in &mut attachments {
            if let Ok(network) = supervisor.networks().find(&attachment.network) {
                network.name().clone_into(&mut attachment.network);
            }
        }
        Ok::<_, ApiError>(attachments)
    };
    blocking(name).await
}

/// An empty list of an entrypoint takes away only the image's entrypoint.
fn command(body: &CreateBody, merged: &CreateBody) -> Vec<String> {
    match body.entrypoint() {
        Some(entrypoint) if entrypoint.is_empty() && !body.says_no_entrypoint() => merged.command(),
        _ => body.command(),
    }
}

/// The image, if there is one for this platform.
async fn image(
    supervisor: &Supervisor,
    name: &str,
    platform: Option<&str>,
) -> Result<Details, ApiError> {
    let (store, wanted) = (supervisor.images().clone(), name.to_owned());
    let details = blocking(move || store.inspect(&wanted)).await?;
    if let Some(text) = platform {
        let wanted = text
            .parse::<Platform>()
            .map_err(|error| ApiError::invalid(error.to_string()))?;
        let found = details.config.platform();
        if wanted.rank(&found).is_none() {
            return Err(ApiError::not_found(format!(
                "image with reference {name} was found but does not match the specified platform: \
                 wanted {wanted}, actual: {found}"
            )));
        }
    }
    Ok(details)
}
