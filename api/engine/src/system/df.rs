//! `GET /system/df`.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use crate::containers;
use crate::error::{ApiError, blocking};
use crate::images;
use crate::lines;
use crate::params::Params;
use crate::router::Shared;
use crate::volumes;

const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];

pub(crate) async fn df(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    let kinds: Vec<&str> = params.all("type").collect();
    if let Some(kind) = kinds.iter().find(|kind| !KINDS.contains(kind)) {
        return Err(ApiError::invalid(format!("unknown object type: {kind}")));
    }
    let wanted = |kind: &str| kinds.is_empty() || kinds.contains(&kind);
    let (with_images, with_containers) = (wanted("image"), wanted("container"));
    let (with_volumes, with_cache) = (wanted("volume"), wanted("build-cache"));
    let usage = move || {
        let mut usage = json!({});
        if with_images {
            let (list, bytes) = image_usage(&supervisor)?;
            usage["Images"] = list;
            usage["LayersSize"] = json!(bytes);
        }
        if with_containers {
            usage["Containers"] = containers::list::all_with_sizes(&supervisor)?;
        }
        if with_volumes {
            usage["Volumes"] = volumes::all_with_usage(&supervisor)?;
        }
        if with_cache {
            usage["BuildCache"] = json!([]);
        }
        Ok::<_, ApiError>(usage)
    };
    Ok(lines::value(&blocking(usage).await?))
}

/// All images, and the bytes of all their layers, each counted once.
fn image_usage(supervisor: &Shared) -> Result<(Value, u64), ApiError> {
    let usage = supervisor.images().usage(&images::uses(supervisor))?;
    let list = usage.images.iter().map(|usage| {
        let mut shown = images::summary(&usage.image);
        shown["SharedSize"] = json!(usage.shared);
        shown["Containers"] = json!(usage.containers);
        shown
    });
    Ok((list.collect(), usage.layers))
}
