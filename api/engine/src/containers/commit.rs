//! `POST /commit`: an image of what a container has written.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hull_engine::inquiry::Files;
use hull_image::build::change;
use hull_image::{CommitOptions, CreateError, Digest, Reference};
use serde_json::{Map, Value, json};

use super::fields::is_zero;
use super::guest::Taken;
use crate::body::JsonBody;
use crate::error::{ApiError, sentence};
use crate::params::Params;
use crate::router::Shared;

/// Fields of a container's configuration that are its image's, too.
pub(crate) const OF_AN_IMAGE: [&str; 13] = [
    "User",
    "ExposedPorts",
    "Env",
    "Cmd",
    "Healthcheck",
    "ArgsEscaped",
    "Volumes",
    "WorkingDir",
    "Entrypoint",
    "OnBuild",
    "Labels",
    "StopSignal",
    "Shell",
];

pub(crate) async fn commit(
    State(supervisor): State<Shared>,
    params: Params,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let container = supervisor.find(params.text("container").unwrap_or_default())?;
    let name = name(&params)?;
    let text = |name: &str| params.text(name).map(str::to_owned);
    let options = CommitOptions {
        author: text("author"),
        comment: text("comment"),
        created_by: Some(container.command().join(" ")),
        config: Some(config(&container.client(), &body)),
        changes: params.all("changes").map(str::to_owned).collect(),
        name: name.clone(),
        ..CommitOptions::default()
    };
    let base: Digest = container
        .image_id()
        .parse()
        .map_err(|_| ApiError::internal("the container's image has no id"))?;
    let (guest, inquiry) = container.guest().await?;
    let layer = Files::Layer {
        // One without a process stands still as it is.
        frozen: params.flag_or("pause", true) && guest.is_running(),
    };
    let reading = inquiry
        .read(layer)
        .await
        .map_err(hull_engine::Error::from)?;
    let layer = Taken::begin(guest, reading)
        .await
        .map_err(hull_engine::Error::from)?;
    let id = supervisor
        .images()
        .commit(Some(&base), layer.into_read(), options)
        .await
        .map_err(refusal)?;
    container.tell("commit");
    if let Some(name) = &name {
        crate::images::publish(&supervisor, "tag", &id.to_string(), &name.familiar());
    }
    let answer = json!({ "Id": id.to_string() }).to_string();
    let kind = [(CONTENT_TYPE, "application/json")];
    Ok((StatusCode::CREATED, kind, answer).into_response())
}

/// What the image is to be called, if it is to be called something.
pub(crate) fn name(params: &Params) -> Result<Option<Reference>, ApiError> {
    let Some(repository) = params.text("repo") else {
        return Ok(None);
    };
    let text = match params.text("tag") {
        Some(tag) => format!("{repository}:{tag}"),
        None => repository.to_owned(),
    };
    let parsed = text.parse::<Reference>();
    let parsed =
        parsed.map_err(|error| ApiError::invalid(format!("invalid reference format: {error}")))?;
    Ok(Some(parsed))
}

/// What the new image says of its processes: what the container was made with, and over it what whoever commits says.
fn config(container: &Value, client: &Value) -> change::Config {
    let mut config = Map::new();
    for name in OF_AN_IMAGE {
        let said = client.get(name).filter(|value| !is_zero(value));
        let had = container.get(name).filter(|value| !is_zero(value));
        let value = match (name, said, had) {
            ("Env", Some(said), Some(had)) => environment(said, had),
            ("Labels" | "ExposedPorts" | "Volumes", Some(Value::Object(said)), Some(had)) => {
                let mut all = had.as_object().cloned().unwrap_or_default();
                all.extend(said.clone());
                Value::Object(all)
            }
            (_, Some(value), _) | (_, None, Some(value)) => value.clone(),
            (_, None, None) => continue,
        };
        config.insert(name.to_owned(), value);
    }
    config
}

/// The variables that are said, and of the others those of another name.
fn environment(said: &Value, had: &Value) -> Value {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |entry: &Value| {
        let text = entry.as_str().unwrap_or_default();
        text.split('=').next().unwrap_or_default().to_owned()
    };
    let mut all = list(said);
    let more = list(had);
    let names: Vec<String> = all.iter().map(name).collect();
    all.extend(
        more.into_iter()
            .filter(|entry| !names.contains(&name(entry))),
    );
    Value::Array(all)
}

/// Why no image was made.
pub(crate) fn refusal(error: CreateError) -> ApiError {
    match error {
        CreateError::Store(error) => error.into(),
        CreateError::Change(_)
        | CreateError::Config(_)
        | CreateError::Digest(_)
        | CreateError::Layer(_) => ApiError::invalid(sentence(&error)),
        _ => ApiError::internal(sentence(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_committer_says_goes_before_what_the_container_was_made_with() {
        let container = json!({
            "Image": "busybox", "Hostname": "h", "Cmd": ["a"], "Env": ["A=1", "B=2"], "Labels": { "x": "1", "y": "2" },
            "User": "", "HostConfig": { "Memory": 5 },
        });
        let client =
            json!({ "Env": ["B=3", "C=4"], "Labels": { "y": "3" }, "User": "me", "Tty": true });
        let config = Value::Object(config(&container, &client));
        let expected = json!({
            "Cmd": ["a"], "Env": ["B=3", "C=4", "A=1"], "Labels": { "x": "1", "y": "3" }, "User": "me",
        });
        assert_eq!(config, expected);
    }
}
