//! Hull's own routes, below `/hull`: what Docker's API has no words for. `HULL.md` has the table.
//!
//! Errors are Docker's; where a container cannot be started they have its exit code (125, 126 or 127) as `code`, too. What a request says
//! and these do not know is refused.

mod fork;
mod run;
mod snapshots;
mod stats;
mod suspend;

use axum::Router;
use axum::routing::{delete, get, post};

use crate::router::Shared;

/// All of them, with their paths.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/hull/containers/create-from", post(snapshots::create_from))
        .route("/hull/containers/{id}/start", post(run::start))
        .route("/hull/containers/{id}/wait", post(run::wait))
        .route("/hull/containers/{id}/snapshot", post(snapshots::take))
        .route("/hull/containers/{id}/fork", post(fork::fork))
        .route("/hull/containers/{id}/suspend", post(suspend::suspend))
        .route("/hull/containers/{id}/resume", post(suspend::resume))
        .route("/hull/snapshots", get(snapshots::list))
        .route("/hull/snapshots/{name}", delete(snapshots::remove))
        .route("/hull/stats", get(stats::stats))
}
