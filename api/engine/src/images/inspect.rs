//! `GET /images/{name}/json`.

use axum::response::Response;
use hull_image::Reference;
use hull_image::store::Details;
use serde_json::{Value, json};

use super::platform;
use crate::containers::commit::OF_AN_IMAGE;
use crate::containers::fields;
use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;
use crate::words;

pub(super) async fn inspect(
    supervisor: Shared,
    name: &str,
    params: &Params,
) -> Result<Response, ApiError> {
    fields::refuse_parameter(params, "GET /images/{name}/json?manifests")?;
    platform::check(&supervisor, name, platform::wanted(params)?.as_ref()).await?;
    let (store, name) = (supervisor.images().clone(), name.to_owned());
    let image = blocking(move || store.inspect(&name)).await?;
    Ok(lines::value(&details(&image)))
}

fn details(image: &Details) -> Value {
    let (summary, platform) = (&image.summary, image.config.platform());
    // As it came: what the OCI specification does not know (health checks, authors' comments) is shown, too.
    let document: Value = serde_json::from_slice(image.config.bytes()).unwrap_or_default();
    let text = |name: &str| {
        document
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let familiar = |names: &[Reference]| names.iter().map(Reference::familiar).collect::<Vec<_>>();
    let layers: Vec<String> = image
        .config
        .layers()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut shown = json!({
        "Id": summary.id.to_string(),
        "RepoTags": familiar(&summary.names),
        "RepoDigests": familiar(&summary.digests),
        "Parent": summary.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        "Comment": text("comment"),
        "Created": words::time(summary.created),
        "DockerVersion": text("docker_version"),
        "Author": text("author"),
        "Config": config(&document),
        "Architecture": platform.architecture,
        "Os": platform.os,
        "Size": summary.size,
        "GraphDriver": { "Name": "hull", "Data": {} },
        "RootFS": { "Type": "layers", "Layers": layers },
        "Metadata": { "LastTagTime": summary.added.to_string() },
    });
    if let Some(variant) = platform.variant {
        shown["Variant"] = json!(variant);
    }
    if !text("os.version").is_empty() {
        shown["OsVersion"] = json!(text("os.version"));
    }
    shown
}

/// The configuration, with what clients index even where the image says nothing of it.
fn config(document: &Value) -> Value {
    let mut shown = json!({
        "User": "", "Env": null, "Cmd": null, "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null,
        "Labels": null,
    });
    // What old images say of the container that they were made in means nothing any more.
    for name in OF_AN_IMAGE {
        if let Some(value) = document.pointer(&format!("/config/{name}")) {
            shown[name] = value.clone();
        }
    }
    shown
}
