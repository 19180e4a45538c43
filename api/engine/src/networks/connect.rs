//! `POST /networks/{id}/connect` and `/disconnect`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use hull_engine::network::Network;
use serde::Deserialize;

use super::{Found, find};
use crate::body::JsonBody;
use crate::containers::create::check_links;
use crate::containers::{EndpointBody, attachment};
use crate::error::{ApiError, blocking};
use crate::router::Shared;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConnectBody {
    container: String,
    endpoint_config: EndpointBody,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DisconnectBody {
    container: String,
    /// A container leaves at once, whatever its guest does, so that there is nothing to force; one that is gone left by that.
    force: bool,
}

pub(crate) async fn connect(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let body: ConnectBody = body.into()?;
    let network = network(&supervisor, id).await?;
    let container = supervisor.find(&body.container)?;
    let wanted = attachment(network.name(), &body.endpoint_config)?;
    check_links(&supervisor, std::slice::from_ref(&wanted))?;
    container.connect(&network, wanted).await?;
    Ok(StatusCode::OK)
}

pub(crate) async fn disconnect(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let body: DisconnectBody = body.into()?;
    let network = network(&supervisor, id).await?;
    match supervisor.find(&body.container) {
        Ok(container) => container.disconnect(&network).await?,
        Err(hull_engine::Error::NotFound(_)) if body.force => {}
        Err(error) => return Err(error.into()),
    }
    Ok(StatusCode::OK)
}

async fn network(supervisor: &Shared, id: String) -> Result<Network, ApiError> {
    let supervisor = Shared::clone(supervisor);
    let found = blocking(move || find(&supervisor, &id)).await?;
    match found {
        Found::Network(network) => Ok(*network),
        Found::Builtin(one) => Err(ApiError::forbidden(format!(
            "container cannot be connected to network {}, nor disconnected from it: \
             its network is its microVM's own",
            one.name
        ))),
    }
}
