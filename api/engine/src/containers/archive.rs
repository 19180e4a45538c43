//! `/containers/{id}/archive`: files in and out, of containers that run and of those that do not.

use std::io::{self, Read};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use hull_engine::inquiry::{FailureKind, FileStat, Files, Write};
use hull_engine::supervisor::Container;
use hull_engine::{Error, SessionError};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::guest::{TAR, Taken};
use crate::error::ApiError;
use crate::params::Params;
use crate::router::Shared;

const STAT: &str = "x-docker-container-path-stat";
/// Bytes that are passed on at once.
const PIECE: usize = 64 << 10;

pub(crate) async fn head(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let path = path(&params)?;
    let (_guest, inquiry) = container.guest().await?;
    let stat = inquiry.file_stat(path.clone()).await;
    let stat = stat.map_err(|error| refusal(&container, &path, error))?;
    Ok([(STAT, described(&stat)?)].into_response())
}

pub(crate) async fn get(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let path = path(&params)?;
    let (guest, inquiry) = container.guest().await?;
    let failed = |error| refusal(&container, &path, error);
    let stat = inquiry.file_stat(path.clone()).await.map_err(failed)?;
    let wanted = Files::Read { path: path.clone() };
    let reading = guest.inquire().await?.read(wanted).await.map_err(failed)?;
    let taken = Taken::begin(guest, reading).await.map_err(failed)?;
    let headers = [
        (CONTENT_TYPE.as_str(), HeaderValue::from_static(TAR)),
        (STAT, described(&stat)?),
    ];
    Ok((headers, taken.into_body()).into_response())
}

pub(crate) async fn put(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let container = supervisor.find(&id)?;
    let path = path(&params)?;
    let owner = container.config().user.filter(|user| !user.is_empty());
    let write = Write {
        path: path.clone(),
        no_overwrite_dir_non_dir: params.flag("noOverwriteDirNonDir"),
        // Whom the container runs as gets them, as with Docker.
        owner: owner.filter(|_| params.flag("copyUIDGID")),
    };
    let mut archive = plain(body);
    let (_guest, inquiry) = container.guest().await?;
    let failed = |error| refusal(&container, &path, error);
    let mut writing = inquiry.write(write).await.map_err(failed)?;
    while let Some(piece) = archive.recv().await {
        let piece = piece.map_err(|error| {
            ApiError::invalid(format!("the archive cannot be read to its end: {error}"))
        })?;
        writing.write(&piece).await.map_err(failed)?;
    }
    writing.finish().await.map_err(failed)?;
    Ok(StatusCode::OK)
}

/// The archive as it is without its compression, in pieces.
fn plain(body: Body) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let bytes = body.into_data_stream().map_err(io::Error::other);
    let archive = SyncIoBridge::new(StreamReader::new(Box::pin(bytes)));
    let (sender, receiver) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        let mut archive = match hull_image::decompress(archive) {
            Ok(archive) => archive,
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        loop {
            let mut piece = vec![0; PIECE];
            let read = archive.read(&mut piece).map(|count| {
                piece.truncate(count);
                piece
            });
            let goes_on = match &read {
                Ok(piece) if piece.is_empty() => return,
                Ok(_) => true,
                Err(_) => false,
            };
            if sender.blocking_send(read).is_err() || !goes_on {
                return;
            }
        }
    });
    receiver
}

fn path(params: &Params) -> Result<String, ApiError> {
    let path = params.text("path");
    let path = path.ok_or_else(|| ApiError::invalid("missing parameter: path"))?;
    Ok(path.to_owned())
}

/// What a path is, as the header says it.
fn described(stat: &FileStat) -> Result<HeaderValue, ApiError> {
    let nanos = i32::try_from(stat.modified.nanoseconds).unwrap_or_default();
    let time = Timestamp::new(stat.modified.seconds, nanos).unwrap_or_default();
    let text = json!({
        "name": stat.name,
        "size": stat.size,
        "mode": stat.go_mode(),
        "mtime": time.to_string(),
        "linkTarget": stat.link_target,
    });
    HeaderValue::try_from(STANDARD.encode(text.to_string()))
        .map_err(|error| ApiError::internal(error.to_string()))
}

/// Why files were not taken or put, in Docker's words.
fn refusal(container: &Container, path: &str, error: SessionError) -> ApiError {
    let SessionError::Refused(failure) = &error else {
        return Error::from(error).into();
    };
    match failure.kind {
        FailureKind::NoSuchFile => ApiError::not_found(format!(
            "Could not find the file {path} in container {}",
            container.id()
        )),
        FailureKind::ReadOnly => ApiError::new(
            StatusCode::FORBIDDEN,
            "container rootfs is marked read-only",
        ),
        FailureKind::Overwrite
        | FailureKind::Archive
        | FailureKind::NoSuchUser
        | FailureKind::Invalid => ApiError::invalid(failure.message.clone()),
        _ => ApiError::internal(failure.message.clone()),
    }
}
