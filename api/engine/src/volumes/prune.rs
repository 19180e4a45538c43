//! `POST /volumes/prune`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use hull_engine::supervisor::EventKind;
use hull_engine::volume::{Volume, usage};
use serde_json::{Value, json};

use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;
use crate::system::events;
use crate::version::ApiVersion;

/// From this version on volumes that have a name are only meant by who says `all`.
const ONLY_UNNAMED: ApiVersion = ApiVersion(1, 42);

pub(crate) async fn prune(
    State(supervisor): State<Shared>,
    Extension(version): Extension<ApiVersion>,
    params: Params,
) -> Result<Response, ApiError> {
    let filters = params.filters(&["all", "label", "label!"])?;
    let all = filters.flag("all")?.unwrap_or(false) || version < ONLY_UNNAMED;
    let publisher = supervisor.clone();
    let prune = move || {
        let users = supervisor.volume_users();
        let fits = |volume: &Volume| {
            let labels = &volume.spec.labels;
            (all || volume.is_anonymous())
                && !users.contains_key(&volume.name)
                && filters.labels(|key| labels.get(key).map(String::as_str))
        };
        let (mut deleted, mut freed) = (Vec::new(), 0_u64);
        for volume in supervisor.volumes().list()?.iter().filter(|one| fits(one)) {
            // A directory of the host's own stays.
            let bytes = match volume.spec.options.is_empty() {
                true => usage(&volume.mountpoint),
                false => 0,
            };
            match supervisor.remove_volume(&volume.name) {
                Ok(_) => {
                    deleted.push(Value::from(volume.name.clone()));
                    freed = freed.saturating_add(bytes);
                }
                // A container has come to use it meanwhile.
                Err(error) => {
                    tracing::debug!(%error, name = volume.name, "a volume was not pruned");
                }
            }
        }
        Ok::<_, ApiError>((deleted, freed))
    };
    let (deleted, freed) = blocking(prune).await?;
    events::pruned(&publisher, EventKind::Volume, freed);
    let deleted = Some(deleted).filter(|deleted| !deleted.is_empty());
    Ok(lines::value(
        &json!({ "VolumesDeleted": deleted, "SpaceReclaimed": freed }),
    ))
}
