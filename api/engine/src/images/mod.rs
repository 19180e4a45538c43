//! Images: lists, pulls, names.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::params::Params;
use crate::router::{Shared, nowhere};

mod begun;
pub(crate) mod create;
pub(crate) mod distribution;
mod history;
mod import;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
mod platform;
pub(crate) mod progress;
pub(crate) mod prune;
mod push;
pub(crate) mod registries;
pub(crate) mod remove;
pub(crate) mod save;
pub(crate) mod search;
mod tag;

pub(crate) use list::summary;
pub(crate) use remove::uses;

/// `GET /images/{name}/json`, `/history` and `/get`. The name holds slashes, so what is asked of it is behind the last one.
pub(crate) async fn get(
    State(supervisor): State<Shared>,
    Path(rest): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    match rest.rsplit_once('/') {
        Some((name, "json")) => inspect::inspect(supervisor, name, &params).await,
        Some((name, "history")) => history::history(supervisor, name, &params).await,
        Some((name, "get")) => save::save(supervisor, vec![name.to_owned()], &params).await,
        _ => Ok(nowhere().await),
    }
}

/// `POST /images/{name}/tag` and `/push`.
pub(crate) async fn post(
    State(supervisor): State<Shared>,
    Path(rest): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    match rest.rsplit_once('/') {
        Some((name, "push")) => push::push(supervisor, name, &params, &headers).await,
        Some((name, "tag")) => Ok(tag::tag(supervisor, name, &params).await?.into_response()),
        _ => Ok(nowhere().await),
    }
}

/// Tells of something that happened to an image.
pub(crate) fn publish(supervisor: &Shared, action: &str, actor: &str, name: &str) {
    use hull_engine::supervisor::{Event, EventKind};
    supervisor.events().publish(Event {
        kind: EventKind::Image,
        action: action.to_owned(),
        actor: actor.to_owned(),
        attributes: [("name".to_owned(), name.to_owned())].into(),
        time: jiff::Timestamp::now(),
    });
}
