//! `GET /volumes` and `GET /volumes/{name}`.

use axum::extract::{Path, State};
use axum::response::Response;
use hull_engine::volume::Volume;
use serde_json::{Value, json};

use super::shown;
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

pub(crate) async fn list(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    let filters = params.filters(&["dangling", "driver", "label", "label!", "name"])?;
    let dangling = filters.flag("dangling")?;
    let list = move || {
        let users = supervisor.volume_users();
        let fits = |volume: &Volume| {
            let labels = &volume.spec.labels;
            dangling.is_none_or(|dangling| dangling != users.contains_key(&volume.name))
                && filters.exact("driver", "local")
                && filters.pattern("name", &[volume.name.as_str()])
                && filters.labels(|key| labels.get(key).map(String::as_str))
        };
        let all = supervisor.volumes().list()?;
        let shown = all.iter().filter(|volume| fits(volume)).map(shown::volume);
        Ok::<_, ApiError>(json!({ "Volumes": shown.collect::<Vec<Value>>(), "Warnings": null }))
    };
    Ok(lines::value(&blocking(list).await?))
}

pub(crate) async fn inspect(
    State(supervisor): State<Shared>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let found = blocking(move || supervisor.volumes().find(&name)).await?;
    Ok(lines::value(&shown::volume(&found)))
}
