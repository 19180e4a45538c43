//! `POST /containers/{id}/update`: what a container may use, and its restart policy.

use axum::extract::{Path, State};
use axum::response::Response;
use hull_engine::RestartPolicy;
use hull_engine::supervisor::Update;
use serde_json::{Value, json};

use super::config::{self, HostConfigBody, restart_policy};
use super::fields;
use crate::body::{JsonBody, typed};
use crate::error::ApiError;
use crate::lines;
use crate::router::Shared;

pub(crate) async fn update(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    fields::refuse_update(&body)?;
    let host: HostConfigBody = typed(body.clone())?;
    conflicts(&host, &container.client())?;
    let given = |name: &str| body.get(name).filter(|value| !fields::is_zero(value));
    let restart = match given("RestartPolicy") {
        Some(_) => Some(restart_policy(&host.restart_policy)?),
        None => None,
    };
    if container.config().auto_remove && restart.is_some_and(|policy| policy != RestartPolicy::No) {
        return Err(ApiError::conflict(
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        ));
    }
    let limits = config::limits(&host)?;
    let update = Update {
        memory: limits.memory,
        nano_cpus: limits.nano_cpus,
        // Here zero says something: as many as they like.
        pids: body.get("PidsLimit").map(|_| limits.pids),
        restart,
        client: fields::UPDATABLE
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), body.get(*name)?.clone())))
            .filter(|(name, value)| name == "PidsLimit" || !fields::is_zero(value))
            .collect(),
    };
    if update != Update::default() {
        container.update(update).await?;
    }
    Ok(lines::value(&json!({ "Warnings": [] })))
}

/// Two ways of saying how much of the processors, of which a container has one.
fn conflicts(host: &HostConfigBody, client: &Value) -> Result<(), ApiError> {
    let has = |name: &str| {
        let value = client.pointer(&format!("/HostConfig/{name}"));
        value.is_some_and(|value| !fields::is_zero(value))
    };
    if host.nano_cpus != 0 && (has("CpuQuota") || has("CpuPeriod")) {
        return Err(ApiError::invalid(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period or CPU Quota has already been set",
        ));
    }
    if (host.cpu_quota != 0 || host.cpu_period != 0) && has("NanoCpus") {
        return Err(ApiError::invalid(
            "Conflicting options: CPU Period and CPU Quota cannot be updated as NanoCPUs has already been set",
        ));
    }
    Ok(())
}
