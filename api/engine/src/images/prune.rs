//! `POST /images/prune`.

use axum::extract::State;
use axum::response::Response;
use hull_engine::supervisor::EventKind;
use hull_image::Prune;
use serde_json::{Value, json};

use super::{list, remove};
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;
use crate::system::events;

pub(crate) async fn prune(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    let filters = params.filters(&["dangling", "label", "label!", "until"])?;
    // Without the condition only images without a name go.
    let all = filters.flag("dangling")? == Some(false);
    let chosen = list::chosen(&filters, &["label", "label!", "until"])?;
    let (store, uses) = (supervisor.images().clone(), remove::uses(&supervisor));
    let prune = Prune {
        all,
        filters: chosen,
        uses,
    };
    let pruned = blocking(move || Ok::<_, ApiError>(store.prune(&prune)?));
    let (removed, freed) = pruned.await?;
    let bytes = freed.bytes;
    events::pruned(&supervisor, EventKind::Image, bytes);
    let shown: Vec<Value> = removed.iter().map(remove::shown).collect();
    let shown = Some(shown).filter(|all| !all.is_empty());
    Ok(lines::value(
        &json!({ "ImagesDeleted": shown, "SpaceReclaimed": bytes }),
    ))
}
