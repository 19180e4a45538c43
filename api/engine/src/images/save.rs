//! `GET /images/{name}/get` and `/images/get`: images as an archive that is written while it is read.

use std::io::{self, BufWriter, Write};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use hull_image::{SaveError, SaveOptions};
use tokio::sync::mpsc;

use super::platform;
use crate::error::{ApiError, sentence};
use crate::params::Params;
use crate::router::Shared;

/// Bytes that are handed on at once.
const BUFFER: usize = 256 << 10;

pub(crate) async fn several(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    let names: Vec<String> = params.all("names").map(str::to_owned).collect();
    if names.is_empty() {
        return Err(ApiError::invalid(
            "the parameter names is missing: which images?",
        ));
    }
    save(supervisor, names, &params).await
}

pub(super) async fn save(
    supervisor: Shared,
    names: Vec<String>,
    params: &Params,
) -> Result<Response, ApiError> {
    let options = SaveOptions {
        platform: platform::wanted(params)?,
    };
    let (pieces, mut receiver) = mpsc::channel(1);
    let store = supervisor.images().clone();
    let saved = names.clone();
    let task = tokio::task::spawn_blocking(move || {
        let failing = pieces.clone();
        let mut out = BufWriter::with_capacity(BUFFER, Pieces(pieces));
        let result = store.save(&saved, &options, &mut out);
        // The answer breaks off where the archive does; a client that has left needs no error.
        if let Err(error) = &result {
            let _ = failing.blocking_send(Err(io::Error::other(sentence(error))));
        }
        result
    });
    // What is wrong with the names is found out before the first byte.
    let first = receiver.recv().await;
    if let Some(Err(_)) = &first {
        let result = task.await.map_err(|error| {
            ApiError::internal(format!("the images were not saved to the end: {error}"))
        })?;
        return Err(result.err().map_or_else(
            || ApiError::internal("the images were not saved"),
            |error| refusal(&error),
        ));
    }
    for name in &names {
        super::publish(&supervisor, "save", name, name);
    }
    let body = unfold((first, receiver), |(first, mut receiver)| async move {
        let piece = match first {
            Some(piece) => piece,
            None => receiver.recv().await?,
        };
        Some((piece, (None, receiver)))
    });
    let kind = [(CONTENT_TYPE, "application/x-tar")];
    Ok((kind, Body::from_stream(body)).into_response())
}

/// Waits while nobody reads.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(data);
        let sent = self.0.blocking_send(Ok(piece));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn refusal(error: &SaveError) -> ApiError {
    use hull_image::store::Error;
    let message = sentence(error);
    match error {
        SaveError::Store(Error::NotFound(name)) => {
            ApiError::not_found(format!("No such image: {name}"))
        }
        SaveError::Store(Error::Ambiguous(_)) => ApiError::invalid(message),
        SaveError::Platform { .. } => ApiError::not_found(message),
        _ => ApiError::internal(message),
    }
}
