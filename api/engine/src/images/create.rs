//! `POST /images/create`: a pull, or an import.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hull_image::registry::Error as RegistryError;
use hull_image::{PullError, PullOptions, Pulled, Reference};
use serde_json::json;

use super::begun::{Begun, Watch};
use super::progress::{Report, Way};
use super::{import, platform, registries};
use crate::error::{ApiError, sentence};
use crate::lines::{self, Lines};
use crate::params::Params;
use crate::router::Shared;

pub(crate) async fn create(
    State(supervisor): State<Shared>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if let Some(source) = params.text("fromSrc") {
        return import::import(supervisor, source, &params, body).await;
    }
    let reference = reference(&params)?;
    let options = PullOptions {
        platform: platform::wanted(&params)?,
        registries: registries::of(&headers)?,
    };
    let (lines, body) = Lines::new();
    let (first, begun) = Begun::new();
    let title = json!({
        "status": format!("Pulling from {}", from(&reference)),
        "id": reference.tag().map(str::to_owned).or_else(|| reference.digest().map(ToString::to_string)),
    });
    let report = Arc::new(Watch {
        report: Some(Report::new(Way::In, lines.clone(), Some(title))),
        first,
    });
    let task = tokio::spawn(async move {
        let store = supervisor.images().clone();
        let result = tokio::select! {
            result = store.pull(&reference, &options, report.clone()) => result,
            // What has come is kept for the next time.
            () = lines.gone() => return Ok(()),
        };
        match result {
            Ok(pulled) => {
                report.first.begin();
                finish(&lines, &reference, &pulled);
                super::publish(
                    &supervisor,
                    "pull",
                    &reference.familiar(),
                    &reference.familiar_name(),
                );
                Ok(())
            }
            Err(error) if report.first.has_begun() => {
                lines.fail(&sentence(&error));
                Ok(())
            }
            Err(error) => Err(refusal(&reference, &error)),
        }
    });
    begun.or_failed(task).await?;
    Ok(lines::json(body))
}

/// What is to be pulled. All tags at once are not.
fn reference(params: &Params) -> Result<Reference, ApiError> {
    let name = params
        .text("fromImage")
        .ok_or_else(|| ApiError::invalid("the parameter fromImage is missing: which image?"))?;
    let text = match params.text("tag") {
        Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
        Some(tag) => format!("{name}:{tag}"),
        None if has_tag(name) => name.to_owned(),
        None => {
            return Err(ApiError::invalid(format!(
                "pulling all tags of {name} at once is not supported: the parameter tag names one"
            )));
        }
    };
    text.parse()
        .map_err(|error: hull_image::reference::ParseReferenceError| {
            ApiError::invalid(format!("invalid reference format: {error}"))
        })
}

fn has_tag(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or_default();
    last.contains([':', '@'])
}

/// The repository as Docker says it: with `library/`, without its own registry.
fn from(reference: &Reference) -> String {
    match reference.registry() {
        "docker.io" => reference.repository().to_owned(),
        _ => reference.name(),
    }
}

fn finish(lines: &Lines, reference: &Reference, pulled: &Pulled) {
    let name = reference.familiar();
    let status = if pulled.is_new {
        "Downloaded newer image for"
    } else {
        "Image is up to date for"
    };
    // Whoever has left does not want to know.
    let _ = lines.send(&json!({ "status": format!("Digest: {}", pulled.digest) }));
    let _ = lines.send(&json!({ "status": format!("Status: {status} {name}") }));
}

/// A pull that failed before anything came.
fn refusal(reference: &Reference, error: &PullError) -> ApiError {
    let message = sentence(error);
    match error {
        PullError::Registry(RegistryError::NotFound { .. }) => ApiError::not_found(format!(
            "manifest for {} not found: {message}",
            reference.familiar()
        )),
        PullError::Registry(RegistryError::Denied { .. }) => ApiError::not_found(format!(
            "pull access denied for {}, repository does not exist or may require 'docker login': {message}",
            reference.familiar_name()
        )),
        PullError::Registry(RegistryError::TooMany { .. }) => {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
        }
        PullError::Import(hull_image::ImportError::Manifest(_)) => ApiError::not_found(message),
        _ => ApiError::internal(message),
    }
}
