//! `DELETE /images/{name}`.

use axum::extract::{Path, State};
use axum::response::Response;
use hull_image::{Digest, Remove, Removed, Use};
use serde_json::{Value, json};

use crate::containers;
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

pub(crate) async fn remove(
    State(supervisor): State<Shared>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    containers::fields::refuse_parameter(&params, "DELETE /images/{name}?platforms")?;
    let how = Remove {
        force: params.flag("force"),
        keep_parents: params.flag("noprune"),
        uses: uses(&supervisor),
    };
    let (store, wanted) = (supervisor.images().clone(), name.clone());
    let removed = blocking(move || {
        let id = store.resolve(&wanted)?;
        let removed = store.remove_with(&wanted, &how)?;
        Ok::<_, hull_image::store::Error>((id, removed))
    });
    let (id, removed) = removed.await?;
    publish(&supervisor, &id, &removed);
    Ok(lines::value(&Value::Array(
        removed.iter().map(shown).collect(),
    )))
}

/// What containers need.
pub(crate) fn uses(supervisor: &Shared) -> Vec<Use> {
    let of = |container: &std::sync::Arc<hull_engine::supervisor::Container>| {
        let kind = if containers::is_up(container) {
            "running container"
        } else {
            "stopped container"
        };
        Some(Use {
            image: container.image_id().parse().ok()?,
            by: format!("{kind} {}", container.id().short()),
        })
    };
    supervisor.list().iter().filter_map(of).collect()
}

/// One line of what was done.
pub(super) fn shown(removed: &Removed) -> Value {
    match removed {
        Removed::Untagged(name) => json!({ "Untagged": name.familiar() }),
        Removed::Deleted(id) => json!({ "Deleted": id.to_string() }),
    }
}

pub(super) fn publish(supervisor: &Shared, image: &Digest, removed: &[Removed]) {
    for one in removed {
        let (action, id) = match one {
            Removed::Untagged(_) => ("untag", image.to_string()),
            Removed::Deleted(id) => ("delete", id.to_string()),
        };
        super::publish(supervisor, action, &id, &id);
    }
}
