//! `POST /containers/prune`.

use axum::extract::State;
use axum::response::Response;
use hull_engine::Status;
use hull_engine::supervisor::{EventKind, Remove};
use serde_json::json;

use super::shown;
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;
use crate::system::events;

pub(crate) async fn prune(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    let filters = params.filters(&["label", "label!", "until"])?;
    let until = filters.until()?;
    let (mut deleted, mut freed) = (Vec::new(), 0);
    for container in supervisor.list() {
        let labels = container.config().labels;
        // What is suspended does not run, but is not over.
        let fits = !shown::is_up(&container)
            && container.state().status != Status::Suspended
            && until.is_none_or(|until| container.state().created < until)
            && filters.labels(|key| labels.get(key).map(String::as_str));
        if !fits {
            continue;
        }
        let (images, sized) = (supervisor.images().clone(), container.clone());
        let (bytes, _) = blocking(move || Ok::<_, ApiError>(shown::sizes(&sized, &images))).await?;
        match container.remove(Remove::default()).await {
            Ok(()) => {
                deleted.push(container.id().to_string());
                freed += bytes;
            }
            // It was started or removed meanwhile.
            Err(error) => {
                tracing::debug!(%error, id = %container.id(), "a container was not pruned");
            }
        }
    }
    events::pruned(&supervisor, EventKind::Container, freed);
    let deleted = Some(deleted).filter(|all| !all.is_empty());
    Ok(lines::value(
        &json!({ "ContainersDeleted": deleted, "SpaceReclaimed": freed }),
    ))
}
