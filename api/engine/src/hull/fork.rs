//! More of a container that runs.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use hull_engine::supervisor::{Container, Fork};
use serde::Deserialize;
use serde_json::json;

use crate::body::JsonBody;
use crate::error::{ApiError, sentence};
use crate::lines;
use crate::router::Shared;

/// So many children a fork can have.
const MOST: u32 = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Body {
    count: Option<u32>,
    name: Option<String>,
    rm: bool,
}

/// Answers with the children that run, and with why others do not; with an error if none does.
pub(super) async fn fork(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let body: Body = body.into()?;
    let count = NonZeroU32::new(body.count.unwrap_or(1)).filter(|count| count.get() <= MOST);
    let forked = container.fork(Fork {
        count: count.ok_or_else(|| {
            ApiError::invalid(format!("invalid count: a fork has 1 to {MOST} children"))
        })?,
        name: body.name,
        auto_remove: body.rm,
    });
    let forked = forked.await?;
    let child = |child: &Arc<Container>| json!({ "id": child.id().as_str(), "name": child.name() });
    let shown = json!({
        "children": forked.children.iter().map(child).collect::<Vec<_>>(),
        "failures": forked.failures.iter().map(|error| sentence(error)).collect::<Vec<_>>(),
        "parent_stood_still_ms": forked.stood_still.as_secs_f64() * 1000.0,
    });
    Ok((StatusCode::CREATED, lines::value(&shown)).into_response())
}
