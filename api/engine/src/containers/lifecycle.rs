//! From start to removal.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use hull_engine::signal_number;
use hull_engine::supervisor::{Remove, Start, Stop};

use super::config::stop_timeout;
use super::fields;
use crate::error::ApiError;
use crate::params::Params;
use crate::router::Shared;

/// Nothing more to say.
type Done = Result<StatusCode, ApiError>;

pub(crate) async fn start(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Done {
    super::checkpoints::refuse_directory(&params, "checkpoint-dir")?;
    if let Some(keys) = params.text("detachKeys") {
        crate::detach::DetachKeys::parse(keys)?;
    }
    let container = supervisor.find(&id)?;
    let checkpoint = params.text("checkpoint");
    let how = Start {
        checkpoint: checkpoint.map(str::to_owned),
        ..Start::default()
    };
    let started = container.start_as(&how).await;
    let started = started.map_err(|error| match checkpoint {
        Some(name) => super::checkpoints::refusal(&container, name, error),
        None => error.into(),
    });
    Ok(changed(started?.is_some()))
}

pub(crate) async fn stop(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Done {
    let how = how_to_stop(&params)?;
    Ok(changed(supervisor.find(&id)?.stop(how).await?))
}

pub(crate) async fn restart(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Done {
    let how = how_to_stop(&params)?;
    supervisor.find(&id)?.restart(how).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn kill(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Done {
    let number = signal(&params)?.unwrap_or(9);
    supervisor.find(&id)?.kill(number).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn pause(State(supervisor): State<Shared>, Path(id): Path<String>) -> Done {
    supervisor.find(&id)?.pause().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn unpause(State(supervisor): State<Shared>, Path(id): Path<String>) -> Done {
    supervisor.find(&id)?.unpause().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn rename(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Done {
    let container = supervisor.find(&id)?;
    let name = params
        .text("name")
        .unwrap_or_default()
        .trim_start_matches('/');
    if name.is_empty() {
        return Err(ApiError::invalid("Neither old nor new names may be empty"));
    }
    container.rename(name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn resize(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Done {
    let (rows, columns) = size(&params)?;
    supervisor.find(&id)?.resize(rows, columns).await?;
    Ok(StatusCode::OK)
}

pub(crate) async fn remove(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Done {
    fields::refuse_parameter(&params, "DELETE /containers/{id}?link")?;
    let how = Remove {
        force: params.flag("force"),
        volumes: params.flag("v"),
    };
    supervisor.find(&id)?.remove(how).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Rows and columns of a terminal: both parameters are needed.
pub(crate) fn size(params: &Params) -> Result<(u16, u16), ApiError> {
    let needed = |name: &str| -> Result<u16, ApiError> {
        params.number(name)?.ok_or_else(|| {
            ApiError::invalid(format!("invalid resize: the parameter {name} is missing"))
        })
    };
    Ok((needed("h")?, needed("w")?))
}

fn how_to_stop(params: &Params) -> Result<Stop, ApiError> {
    Ok(Stop {
        signal: signal(params)?,
        timeout: params.number::<i64>("t")?.map(stop_timeout),
    })
}

fn signal(params: &Params) -> Result<Option<u8>, ApiError> {
    let number = params.text("signal").map(signal_number).transpose();
    number.map_err(|error| ApiError::invalid(error.to_string()))
}

/// 304 tells that it was so before.
fn changed(changed: bool) -> StatusCode {
    if changed {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_MODIFIED
    }
}
