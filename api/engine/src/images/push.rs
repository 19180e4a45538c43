//! `POST /images/{name}/push`.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use hull_image::{PushError, PushOptions, Reference};
use serde_json::json;

use super::begun::{Begun, Watch};
use super::progress::{Report, Way};
use super::{platform, registries};
use crate::error::{ApiError, blocking, sentence};
use crate::lines::{self, Lines};
use crate::params::Params;
use crate::router::Shared;

pub(super) async fn push(
    supervisor: Shared,
    name: &str,
    params: &Params,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let reference = name.parse::<Reference>();
    let reference = reference
        .map_err(|error| ApiError::invalid(format!("invalid reference format: {error}")))?;
    let options = PushOptions {
        platform: platform::wanted(params)?,
        registries: registries::of(headers)?,
    };
    let names = names(&supervisor, &reference, params.text("tag")).await?;
    let (lines, body) = Lines::new();
    let (first, begun) = Begun::new();
    let title = format!("The push refers to repository [{}]", reference.name());
    let report = Arc::new(Watch {
        report: Some(Report::new(
            Way::Out,
            lines.clone(),
            Some(json!({ "status": title })),
        )),
        first,
    });
    let task = tokio::spawn(async move {
        let store = supervisor.images().clone();
        for name in names {
            let result = tokio::select! {
                result = store.push(&name, &options, report.clone()) => result,
                () = lines.gone() => return Ok(()),
            };
            match result {
                Ok(pushed) => {
                    report.first.begin();
                    let tag = name.tag().unwrap_or_default();
                    let (digest, size) = (pushed.digest.to_string(), pushed.size);
                    let status = format!("{tag}: digest: {digest} size: {size}");
                    // Whoever has left does not want to know.
                    let _ = lines.send(&json!({ "status": status }));
                    let aux = json!({ "Tag": tag, "Digest": digest, "Size": size });
                    let _ = lines.send(&json!({ "progressDetail": {}, "aux": aux }));
                    super::publish(&supervisor, "push", &name.familiar(), &name.familiar_name());
                }
                Err(error) if report.first.has_begun() => {
                    lines.fail(&words(&error));
                    return Ok(());
                }
                Err(PushError::Store(error)) => return Err(error.into()),
                Err(error @ PushError::Platform { .. }) => {
                    return Err(ApiError::not_found(sentence(&error)));
                }
                Err(error) => return Err(ApiError::internal(words(&error))),
            }
        }
        Ok(())
    });
    begun.or_failed(task).await?;
    Ok(lines::json(body))
}

/// What is pushed: one tag, or all that the repository has here.
async fn names(
    supervisor: &Shared,
    repository: &Reference,
    tag: Option<&str>,
) -> Result<Vec<Reference>, ApiError> {
    let store = supervisor.images().clone();
    let all = blocking(move || store.list()).await?;
    let fits = |name: &Reference| {
        name.name() == repository.name() && tag.is_none_or(|tag| name.tag() == Some(tag))
    };
    let mut names: Vec<Reference> = all
        .into_iter()
        .flat_map(|image| image.names)
        .filter(fits)
        .collect();
    names.sort();
    if names.is_empty() {
        let name = match tag {
            Some(tag) => format!("{}:{tag}", repository.familiar_name()),
            None => repository.familiar_name(),
        };
        return Err(ApiError::not_found(format!(
            "An image does not exist locally with the tag: {name}"
        )));
    }
    Ok(names)
}

/// In words that clients look for.
fn words(error: &PushError) -> String {
    use hull_image::registry::Error;
    let message = sentence(error);
    match error {
        PushError::Registry(Error::Denied { .. }) => {
            format!("denied: requested access to the resource is denied: {message}")
        }
        _ => message,
    }
}
