//! `GET /networks` and `GET /networks/{id}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use hull_engine::supervisor::Supervisor;
use serde_json::Value;

use super::{Found, all, find, shown};
use crate::error::{ApiError, blocking};
use crate::filters::{self, Filters};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

const FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

pub(crate) async fn list(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    let filters = params.filters(&FILTERS)?;
    for (name, known) in [
        ("type", &["custom", "builtin"][..]),
        ("scope", &["local", "global", "swarm"]),
    ] {
        let mut values = filters.values(name).iter();
        if let Some(value) = values.find(|value| !known.contains(&value.as_str())) {
            return Err(filters::invalid(name, value));
        }
    }
    let dangling = filters.flag("dangling")?;
    let list = move || {
        let fits = |found: &Found| fits(&supervisor, &filters, dangling, found);
        let mut shown = Vec::new();
        for found in all(&supervisor)? {
            if fits(&found)? {
                shown.push(shown::network(&found));
            }
        }
        Ok::<_, ApiError>(Value::Array(shown))
    };
    Ok(lines::value(&blocking(list).await?))
}

fn fits(
    supervisor: &Arc<Supervisor>,
    filters: &Filters,
    dangling: Option<bool>,
    found: &Found,
) -> Result<bool, ApiError> {
    let (name, id) = (found.name(), found.id());
    let kind = if found.is_builtin() {
        "builtin"
    } else {
        "custom"
    };
    let within = |filter: &str, text: &str| {
        let mut values = filters.values(filter).iter();
        !filters.has(filter) || values.any(|value| text.contains(value.as_str()))
    };
    let label = |key: &str| match found {
        Found::Network(network) => network.labels().get(key).map(String::as_str),
        Found::Builtin(_) => None,
    };
    let fits = within("name", name)
        && within("id", id)
        && filters.exact("driver", found.driver())
        && filters.exact("scope", "local")
        && filters.exact("type", kind)
        && filters.labels(label);
    let Some(dangling) = dangling.filter(|_| fits) else {
        return Ok(fits);
    };
    // What is there anyway dangles never.
    let is_unused = || super::remove::is_unused(supervisor, found);
    Ok((!found.is_builtin() && is_unused()?) == dangling)
}

pub(crate) async fn inspect(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    if let Some(scope) = params.text("scope").filter(|scope| *scope != "local") {
        return Err(ApiError::not_found(format!(
            "network {id} not found: there are none of scope {scope}"
        )));
    }
    let verbose = params.flag("verbose");
    let inspect = move || {
        supervisor.tidy_networks();
        let found = find(&supervisor, &id)?;
        let mut shown = shown::network(&found);
        shown["Containers"] = shown::containers(&supervisor, &found)?;
        if verbose {
            // There are none without a swarm.
            shown["Services"] = Value::Object(serde_json::Map::new());
        }
        Ok::<_, ApiError>(shown)
    };
    Ok(lines::value(&blocking(inspect).await?))
}
