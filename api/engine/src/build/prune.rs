//! `POST /build/prune`: results of steps that nobody needs.

use axum::extract::State;
use axum::response::Response;
use hull_engine::supervisor::EventKind;
use hull_image::store::PruneSteps;
use serde_json::json;

use crate::containers::fields;
use crate::error::{ApiError, blocking};
use crate::images;
use crate::lines;
use crate::params::Params;
use crate::router::Shared;
use crate::system::events;

pub(crate) async fn prune(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    for name in [
        "keep-storage",
        "reserved-space",
        "max-used-space",
        "min-free-space",
    ] {
        fields::refuse_parameter(&params, &format!("POST /build/prune?{name}"))?;
    }
    let filters = params.filters(&["until"])?;
    let until = filters.until()?;
    let (store, uses) = (supervisor.images().clone(), images::uses(&supervisor));
    let prune = PruneSteps {
        all: params.flag("all"),
        until,
        uses,
    };
    let pruned = blocking(move || Ok::<_, ApiError>(store.prune_steps(&prune)?));
    let (removed, freed) = pruned.await?;
    events::pruned(&supervisor, EventKind::Builder, freed.bytes);
    let removed: Vec<String> = removed.iter().map(ToString::to_string).collect();
    Ok(lines::value(
        &json!({ "CachesDeleted": removed, "SpaceReclaimed": freed.bytes }),
    ))
}
