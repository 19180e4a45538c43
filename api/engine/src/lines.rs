//! Answers that go on: a body that is written as things happen.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::Value;
use tokio::sync::mpsc;

/// The writing end of a body of JSON lines. It fails when the client is gone.
#[derive(Clone, Debug)]
pub(crate) struct Lines(mpsc::UnboundedSender<Bytes>);

/// Nobody reads any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Lines {
    /// A writer, and the body that it writes.
    pub(crate) fn new() -> (Self, Body) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Body::from_stream(received(receiver)))
    }

    /// Sends one value. Docker ends them so.
    pub(crate) fn send(&self, value: &Value) -> Result<(), Gone> {
        self.0
            .send(Bytes::from(format!("{value}\r\n")))
            .map_err(|_| Gone)
    }

    /// What ends a stream that failed after it had begun.
    pub(crate) fn fail(&self, message: &str) {
        let line = serde_json::json!({ "errorDetail": { "message": message }, "error": message });
        // A client that has left needs no error.
        let _ = self.send(&line);
    }

    /// Ends when nobody reads any more.
    pub(crate) async fn gone(&self) {
        self.0.closed().await;
    }
}

fn received(
    receiver: mpsc::UnboundedReceiver<Bytes>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((Ok(bytes), receiver))
    })
}

/// An answer of JSON, whose headers go out before its body begins.
pub(crate) fn json(body: Body) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// A value as a whole answer.
pub(crate) fn value(value: &Value) -> Response {
    json(Body::from(format!("{value}\n")))
}
