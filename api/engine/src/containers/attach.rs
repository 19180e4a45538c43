//! `POST /containers/{id}/attach`, and the same by a WebSocket.

use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use hull_engine::LogsWanted;
use hull_engine::supervisor::{Attach, Container};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::io::StreamReader;

use super::logs::{Style, lines};
use crate::detach::DetachKeys;
use crate::error::ApiError;
use crate::hijack::{Hijack, Input, Output, Session};
use crate::params::Params;
use crate::router::Shared;

/// How much goes into one message of a WebSocket, in bytes.
const MESSAGE: usize = 16 << 10;

pub(crate) async fn attach(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
    hijack: Hijack,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let framed = !container.config().tty;
    let session = open(&container, &params, hijack.is_two_way(), framed).await?;
    Ok(hijack.answer(session))
}

pub(crate) async fn websocket(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let session = open(&container, &params, true, false).await?;
    Ok(upgrade.on_upgrade(|socket| relay(socket, session)))
}

/// Opens what the parameters ask for. `framed` output tells its two streams apart.
async fn open(
    container: &Arc<Container>,
    params: &Params,
    two_way: bool,
    framed: bool,
) -> Result<Session, ApiError> {
    let (config, stream) = (container.config(), params.flag("stream"));
    let keys = DetachKeys::parse(params.text("detachKeys").unwrap_or_default())?;
    let what = Attach {
        stdin: two_way && stream && params.flag("stdin") && config.open_stdin,
        stdout: params.flag("stdout"),
        stderr: params.flag("stderr"),
    };
    let (mut output, mut input): (Output, Option<Input>) = (Box::pin(tokio::io::empty()), None);
    let mut detach = None;
    if stream {
        let mut streams = container.attach(what).await?;
        detach = streams.detach();
        let (reader, writer): (Output, Input) = if framed {
            let (reader, writer) = streams.into_split();
            (Box::pin(reader), Box::pin(writer))
        } else {
            let (reader, writer) = streams.unframed();
            (Box::pin(reader), Box::pin(writer))
        };
        output = reader;
        input = what.stdin.then_some(writer);
    }
    if params.flag("logs") && (what.stdout || what.stderr) {
        let before = past(container, what, framed)?;
        output = Box::pin(before.chain(output));
    }
    Ok(Session {
        output,
        input,
        input_ends: config.stdin_once && !config.tty,
        keys: config.tty.then_some(keys),
        detach,
        tty: config.tty,
    })
}

/// What the container has said until now.
fn past(container: &Container, what: Attach, framed: bool) -> Result<Output, ApiError> {
    let logs = container.logs(LogsWanted {
        stdout: what.stdout,
        stderr: what.stderr,
        since: None,
        until: Some(Timestamp::now()),
        tail: None,
        follow: false,
    })?;
    let style = Style {
        framed,
        timestamps: false,
        details: false,
    };
    Ok(Box::pin(StreamReader::new(Box::pin(lines(logs, style)))))
}

/// Carries a session's bytes in messages.
async fn relay(mut socket: WebSocket, session: Session) {
    let Session {
        mut output,
        mut input,
        input_ends,
        mut keys,
        detach,
        ..
    } = session;
    let mut said = vec![0; MESSAGE];
    loop {
        let message = tokio::select! {
            count = output.read(&mut said) => match count {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    let bytes = said.get(..count).unwrap_or_default().to_vec();
                    if socket.send(Message::Binary(bytes.into())).await.is_err() {
                        return;
                    }
                    continue;
                }
            },
            message = socket.recv() => message,
        };
        let typed = match message {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Text(text))) => text.into(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_)) | Err(_)) | None => {
                if let Some(detach) = detach.filter(|_| !input_ends) {
                    detach.detach();
                }
                return;
            }
        };
        let Some(open) = &mut input else {
            continue;
        };
        let mut passed = Vec::new();
        let detached = match &mut keys {
            Some(keys) => keys.pass(&typed, &mut passed),
            None => {
                passed.extend_from_slice(&typed);
                false
            }
        };
        if open.write_all(&passed).await.is_err() || open.flush().await.is_err() {
            input = None;
        }
        if detached {
            if let Some(detach) = detach {
                detach.detach();
            }
            break;
        }
    }
    let _ = socket.send(Message::Close(None)).await;
}
