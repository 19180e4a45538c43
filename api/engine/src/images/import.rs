//! `POST /images/create?fromSrc=`: an image of a file system.

use std::io::{self, Read};

use axum::body::Body;
use axum::response::Response;
use futures_util::TryStreamExt;
use hull_image::{ImportOptions, registry};
use serde_json::json;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{platform, registries};
use crate::containers::commit;
use crate::error::{ApiError, sentence};
use crate::lines::{self, Lines};
use crate::params::Params;
use crate::router::Shared;

pub(super) async fn import(
    supervisor: Shared,
    source: &str,
    params: &Params,
    body: Body,
) -> Result<Response, ApiError> {
    let name = commit::name(params)?;
    let options = ImportOptions {
        name: name.clone(),
        message: params.text("message").map(str::to_owned),
        source: source.to_owned(),
        changes: params.all("changes").map(str::to_owned).collect(),
        platform: platform::wanted(params)?,
    };
    let (lines, answer) = Lines::new();
    let root: Box<dyn Read + Send> = if source == "-" {
        let bytes = body.into_data_stream().map_err(io::Error::other);
        Box::new(SyncIoBridge::new(StreamReader::new(Box::pin(bytes))))
    } else {
        let address = match source.contains("://") {
            true => source.to_owned(),
            false => format!("http://{source}"),
        };
        let remote = registry::remote(&address, &registries::anonymous()?).await;
        let remote = remote.map_err(|error| ApiError::invalid(sentence(&error)))?;
        // Whoever has left does not want to know.
        let _ = lines.send(&json!({ "status": format!("Downloading from {address}") }));
        Box::new(remote)
    };
    let id = supervisor.images().import(root, options).await;
    let id = id.map_err(commit::refusal)?.to_string();
    super::publish(&supervisor, "import", &id, &id);
    let _ = lines.send(&json!({ "status": id }));
    Ok(lines::json(answer))
}
