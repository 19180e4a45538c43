//! `POST /containers/{id}/wait`.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::stream::once;
use hull_engine::supervisor::WaitCondition;
use serde_json::{Value, json};

use crate::error::{ApiError, sentence};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

/// Why a wait is over though the container has not ended.
const SUSPENDED: &str = "the container is suspended: hull resume, or a start, goes on with it";

/// The head of the answer goes out at once: a client starts the container only when it has seen it, and by then the wait
/// is registered.
pub(crate) async fn wait(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let condition = match params.text("condition").unwrap_or("not-running") {
        "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(ApiError::invalid(format!("invalid condition: {other:?}"))),
    };
    let waited = supervisor.find(&id)?.wait(condition);
    let answer = async move {
        let answer = match waited.await {
            // It did not end. Whoever was attached to it is told why there is no more.
            Ok(waited) if waited.suspended => {
                json!({ "StatusCode": -1, "Error": { "Message": SUSPENDED } })
            }
            Ok(waited) if waited.error.is_empty() => {
                json!({ "StatusCode": waited.code, "Error": Value::Null })
            }
            Ok(waited) => {
                json!({ "StatusCode": waited.code, "Error": { "Message": waited.error } })
            }
            Err(error) => json!({ "StatusCode": -1, "Error": { "Message": sentence(&error) } }),
        };
        Ok::<_, std::io::Error>(format!("{answer}\n"))
    };
    Ok(lines::json(Body::from_stream(once(answer))))
}
