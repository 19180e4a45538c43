//! `POST /containers/prune`.

use axum::extract::State;
use axum::response::Response;
use hull_engine::Status;
use hull_engine::supervisor::Remove;
use jiff::Timestamp;
use serde_json::json;

use super::shown;
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;
use crate::system::events;
use crate::words;

pub(crate) async fn prune(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    let filters = params.filters(&["label", "label!", "until"])?;
    let until: Option<Timestamp> = match filters.values("until") {
        [] => None,
        [text] => Some(words::moment(text)?),
        _ => return Err(ApiError::invalid("more than one until filter specified")),
    };
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
    events::pruned(
        &supervisor,
        hull_engine::supervisor::EventKind::Container,
        freed,
    );
    let deleted = if deleted.is_empty() {
        json!(null)
    } else {
        json!(deleted)
    };
    Ok(lines::value(
        &json!({ "ContainersDeleted": deleted, "SpaceReclaimed": freed }),
    ))
}
