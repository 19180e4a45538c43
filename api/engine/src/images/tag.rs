//! `POST /images/{name}/tag`.

use axum::http::StatusCode;
use hull_image::Reference;

use crate::error::{ApiError, blocking};
use crate::params::Params;
use crate::router::Shared;

pub(super) async fn tag(
    supervisor: Shared,
    name: &str,
    params: &Params,
) -> Result<StatusCode, ApiError> {
    let repository = params.text("repo").ok_or_else(|| {
        ApiError::invalid("the parameter repo is missing: what should the image be called?")
    })?;
    let text = match params.text("tag") {
        Some(tag) => format!("{repository}:{tag}"),
        None => repository.to_owned(),
    };
    let target: Reference =
        text.parse()
            .map_err(|error: hull_image::reference::ParseReferenceError| {
                ApiError::invalid(format!("invalid reference format: {error}"))
            })?;
    let (store, source, new) = (supervisor.images().clone(), name.to_owned(), target.clone());
    let id = blocking(move || {
        store.tag(&source, &new)?;
        store.resolve(&source)
    })
    .await?;
    super::publish(&supervisor, "tag", &id.to_string(), &target.familiar());
    Ok(StatusCode::CREATED)
}
