//! `DELETE /networks/{id}` and `POST /networks/prune`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use hull_engine::network;
use hull_engine::supervisor::{EventKind, Supervisor};
use serde_json::json;

use super::{Found, all, find};
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;
use crate::system::events;

pub(crate) async fn remove(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let remove = move || {
        supervisor.tidy_networks();
        let found = find(&supervisor, &id)?;
        let name = found.name().to_owned();
        match found {
            Found::Network(network) if !is_builtin(&network) => {
                supervisor.remove_network(&network)?;
                Ok::<_, ApiError>(StatusCode::NO_CONTENT)
            }
            _ => Err(ApiError::forbidden(format!(
                "{name} is a pre-defined network and cannot be removed"
            ))),
        }
    };
    blocking(remove).await
}

fn is_builtin(network: &network::Network) -> bool {
    network.name() == network::DEFAULT_NETWORK
}

/// Whether nobody is in a network, and no container of the daemon would be if it ran. Blocking.
pub(super) fn is_unused(supervisor: &Supervisor, found: &Found) -> Result<bool, ApiError> {
    let Found::Network(network) = found else {
        return Ok(false);
    };
    let (name, id) = (network.name(), network.id().as_str());
    let wants = |wanted: &str| wanted == name || wanted == id;
    let containers = supervisor.list();
    let mut wanted = containers.iter().flat_map(|one| one.config().networks);
    Ok(!wanted.any(|one| wants(&one.network)) && network.members()?.is_empty())
}

pub(crate) async fn prune(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    let filters = params.filters(&["label", "label!", "until"])?;
    let until = filters.until()?;
    let all_of = Arc::clone(&supervisor);
    let prune = move || {
        all_of.tidy_networks();
        let mut deleted = Vec::new();
        for found in all(&all_of)? {
            if found.is_builtin() || !is_unused(&all_of, &found)? {
                continue;
            }
            let Found::Network(network) = found else {
                continue;
            };
            let fits = until.is_none_or(|until| network.created() < until)
                && filters.labels(|key| network.labels().get(key).map(String::as_str));
            if !fits {
                continue;
            }
            match all_of.remove_network(&network) {
                Ok(()) => deleted.push(network.name().to_owned()),
                // Somebody came into it, or removed it, meanwhile.
                Err(error) => {
                    tracing::debug!(%error, network = network.name(), "a network was not pruned");
                }
            }
        }
        Ok::<_, ApiError>(deleted)
    };
    let deleted = blocking(prune).await?;
    events::pruned(&supervisor, EventKind::Network, 0);
    let deleted = Some(deleted).filter(|all| !all.is_empty());
    Ok(lines::value(&json!({ "NetworksDeleted": deleted })))
}
