//! `GET /containers/{id}/logs`.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::unfold;
use hull_engine::{LogEntry, Logs, LogsWanted, OutputStream};
use jiff::Timestamp;

use crate::error::ApiError;
use crate::hijack::content_type;
use crate::params::Params;
use crate::router::Shared;
use crate::version::ApiVersion;
use crate::words;

pub(crate) async fn logs(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    Extension(version): Extension<ApiVersion>,
    params: Params,
) -> Result<Response, ApiError> {
    let (stdout, stderr) = (params.flag("stdout"), params.flag("stderr"));
    if !(stdout || stderr) {
        return Err(ApiError::invalid(
            "Bad parameters: you must choose at least one stream",
        ));
    }
    let container = supervisor.find(&id)?;
    // 0 is what clients send for no limit.
    let moment = |name: &str| -> Result<Option<Timestamp>, ApiError> {
        params
            .text(name)
            .filter(|text| *text != "0")
            .map(words::moment)
            .transpose()
    };
    let tail = match params.text("tail").unwrap_or("all") {
        "all" => None,
        // Anything else is all, as with Docker.
        text => text.parse().ok(),
    };
    let wanted = LogsWanted {
        stdout,
        stderr,
        since: moment("since")?,
        until: moment("until")?,
        tail,
        follow: params.flag("follow"),
    };
    let style = Style {
        framed: !container.config().tty,
        timestamps: params.flag("timestamps"),
        details: params.flag("details"),
    };
    let logs = container.logs(wanted)?;
    let body = Body::from_stream(lines(logs, style));
    let kind = content_type(container.config().tty, version);
    Ok(([(CONTENT_TYPE, kind)], body).into_response())
}

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// With a header each, as streams without a terminal are.
    pub(super) framed: bool,
    pub(super) timestamps: bool,
    /// With what the log's driver knows of them, which is nothing; so there is only the space behind it.
    pub(super) details: bool,
}

/// The lines as the client gets them. One that cannot be read is the last, and said as the daemon's own (stream 3).
pub(super) fn lines(logs: Logs, style: Style) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    unfold(Some(logs), move |logs| async move {
        let mut logs = logs?;
        match logs.next().await? {
            Ok(entry) => Some((Ok(line(&entry, style)), Some(logs))),
            Err(error) if style.framed => {
                let text = format!("Error grabbing logs: {error}\n");
                Some((Ok(frame(3, &[text.as_bytes()])), None))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
}

fn line(entry: &LogEntry, style: Style) -> Bytes {
    let time = if style.timestamps {
        format!("{} ", words::fixed_time(entry.time))
    } else {
        String::new()
    };
    let details: &[u8] = if style.details { b" " } else { b"" };
    let parts = [time.as_bytes(), details, &entry.data];
    if style.framed {
        let stream = match entry.stream {
            OutputStream::Stdout => 1,
            OutputStream::Stderr => 2,
        };
        frame(stream, &parts)
    } else {
        Bytes::from(parts.concat())
    }
}

/// A frame of a multiplexed stream: the stream, three zeros, the length in four bytes, the data.
fn frame(stream: u8, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(8 + length);
    frame.put_u32(u32::from(stream) << 24);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for part in parts {
        frame.put_slice(part);
    }
    frame.freeze()
}
