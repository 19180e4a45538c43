//! Answers that go on: a body that is written as things happen.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// So many bytes of lines may wait for a client, beside those that are sent whatever it does.
const WAITING: u32 = 1 << 20;

/// The writing end of a body of JSON lines. It fails when the client is gone.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    sender: mpsc::UnboundedSender<Line>,
    room: Arc<Semaphore>,
}

/// A line, and the room that it takes until it is read.
#[derive(Debug)]
struct Line {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Nobody reads any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Lines {
    /// A writer, and the body that it writes.
    pub(crate) fn new() -> (Self, Body) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(WAITING as usize));
        (Self { sender, room }, Body::from_stream(received(receiver)))
    }

    /// Sends one value at once, however many wait: for those of which there are only so many.
    pub(crate) fn send(&self, value: &Value) -> Result<(), Gone> {
        self.pass(bytes(value), None)
    }

    /// Sends one value when there is room for it, so that a slow client slows whoever has much to say.
    pub(crate) async fn send_in_turn(&self, value: &Value) -> Result<(), Gone> {
        let bytes = bytes(value);
        let room = Arc::clone(&self.room).acquire_many_owned(size(&bytes));
        self.pass(bytes, Some(room.await.map_err(|_| Gone)?))
    }

    /// Sends one value if there is room for it: for those that the next one replaces.
    pub(crate) fn send_in_passing(&self, value: &Value) -> Result<(), Gone> {
        let bytes = bytes(value);
        match Arc::clone(&self.room).try_acquire_many_owned(size(&bytes)) {
            Ok(room) => self.pass(bytes, Some(room)),
            Err(_) => Ok(()),
        }
    }

    fn pass(&self, bytes: Bytes, room: Option<OwnedSemaphorePermit>) -> Result<(), Gone> {
        let line = Line { bytes, _room: room };
        self.sender.send(line).map_err(|_| Gone)
    }

    /// What ends a stream that failed after it had begun.
    pub(crate) fn fail(&self, message: &str) {
        let line = serde_json::json!({ "errorDetail": { "message": message }, "error": message });
        // A client that has left needs no error.
        let _ = self.send(&line);
    }

    /// Ends when nobody reads any more.
    pub(crate) async fn gone(&self) {
        self.sender.closed().await;
    }
}

/// A value as a line. Docker ends them so.
fn bytes(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\r\n"))
}

/// The room that a line takes: no more than there is, or it would never be sent.
fn size(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).map_or(WAITING, |length| length.min(WAITING))
}

fn received(
    receiver: mpsc::UnboundedReceiver<Line>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((Ok(line.bytes), receiver))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt;
    use serde_json::json;
    use tokio::time::timeout;

    use super::*;

    /// Says more than may wait, and then that it has.
    fn talkative(lines: &Lines) -> tokio::task::JoinHandle<Result<(), Gone>> {
        let lines = lines.clone();
        tokio::spawn(async move {
            let piece = "x".repeat(100_000);
            for _ in 0..100 {
                lines.send_in_turn(&json!({ "stream": piece })).await?;
            }
            Ok(())
        })
    }

    #[tokio::test]
    async fn whoever_has_much_to_say_waits_for_the_client() {
        let (lines, body) = Lines::new();
        let mut said = talkative(&lines);
        let early = timeout(Duration::from_millis(200), &mut said).await;
        assert!(
            early.is_err(),
            "ten megabytes were kept for a client that reads none"
        );
        // What there is little of is not held up by that.
        lines.send(&json!({ "error": "late" })).unwrap();
        drop(lines);
        let pieces: Vec<_> = body.into_data_stream().collect().await;
        assert_eq!(pieces.len(), 101);
        said.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_for_a_client_that_is_gone() {
        let (lines, body) = Lines::new();
        let said = talkative(&lines);
        tokio::task::yield_now().await;
        drop(body);
        let ended = timeout(Duration::from_secs(10), said).await;
        assert!(ended.unwrap().unwrap().is_err());
        lines.gone().await;
    }

    #[tokio::test]
    async fn a_line_of_any_length_is_sent() {
        let (lines, body) = Lines::new();
        let long = json!({ "stream": "x".repeat(3 << 20) });
        lines.send_in_turn(&long).await.unwrap();
        // There is no room for it, and it is none that has to be seen.
        lines
            .send_in_passing(&json!({ "status": "Downloading" }))
            .unwrap();
        drop(lines);
        let pieces: Vec<_> = body.into_data_stream().collect().await;
        assert_eq!(pieces.len(), 1);
    }
}
