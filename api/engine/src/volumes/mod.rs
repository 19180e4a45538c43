//! Volumes.

mod create;
mod list;
mod prune;
mod shown;

pub(crate) use create::{create, driver};
pub(crate) use list::{inspect, list};
pub(crate) use prune::prune;
pub(crate) use shown::all_with_usage;

use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::error::{ApiError, blocking};
use crate::params::Params;
use crate::router::Shared;

/// `DELETE /volumes/{name}`.
pub(crate) async fn remove(
    State(supervisor): State<Shared>,
    Path(name): Path<String>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let force = params.flag("force");
    match blocking(move || supervisor.remove_volume(&name)).await {
        // Whoever insists wants it to be gone, which it is.
        Err(error) if force && error.status == StatusCode::NOT_FOUND => Ok(StatusCode::NO_CONTENT),
        removed => removed.map(|_| StatusCode::NO_CONTENT),
    }
}
