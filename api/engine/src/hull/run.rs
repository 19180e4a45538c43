//! What `hull run` asks for beyond Docker's words: from what a machine starts and where that time goes, and all there is to
//! know of its end.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::stream::once;
use hull_engine::supervisor::Start;
use hull_engine::{Origin, WaitFor};
use serde_json::json;

use crate::error::{ApiError, sentence};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

/// `POST /hull/containers/{id}/start?origin=nearest|boot&measure=true`: as Docker's start, and tells what the machine began as
/// and the microseconds of each step.
pub(super) async fn start(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let how = Start {
        origin: match params.text("origin").unwrap_or("nearest") {
            "nearest" => Origin::Nearest,
            "boot" => Origin::Boot,
            other => return Err(ApiError::invalid(format!("invalid origin: {other:?}"))),
        },
        measure: params.flag("measure"),
        checkpoint: None,
    };
    Ok(match supervisor.find(&id)?.start_as(&how).await? {
        Some(started) => lines::value(&json!({ "from": started.from, "steps": started.steps })),
        None => StatusCode::NOT_MODIFIED.into_response(),
    })
}

/// `POST /hull/containers/{id}/wait?condition=exit|removed`: how a container ends the next time. `exit` is the end of its process; with
/// `removed` nothing of it runs any more, and one that removes itself is gone. The head of the answer goes out at once: who starts
/// the container after that misses nothing.
pub(super) async fn wait(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let what = match params.text("condition").unwrap_or("exit") {
        "exit" => WaitFor::Exit,
        "removed" => WaitFor::Removal,
        other => return Err(ApiError::invalid(format!("invalid condition: {other:?}"))),
    };
    let ended = supervisor.find(&id)?.ended(what);
    let answer = async move {
        // There is a status already: an error is a body that breaks off.
        let exit = ended
            .await
            .map_err(|error| std::io::Error::other(sentence(&error)))?;
        let answer = json!({
            "code": exit.code,
            "error": exit.error,
            "oom_killed": exit.oom_killed,
            "suspended": exit.suspended,
            "metrics": exit.metrics,
        });
        Ok::<_, std::io::Error>(format!("{answer}\n"))
    };
    Ok(lines::json(Body::from_stream(once(answer))))
}
