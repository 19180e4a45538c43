//! Processes that are run in containers beside the containers' own.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hull_engine::supervisor::{Attach, Exec, ExecSpec, ExecStatus, Streams};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::JsonBody;
use crate::containers::lifecycle::size;
use crate::detach::DetachKeys;
use crate::error::{ApiError, sentence};
use crate::hijack::{Hijack, Input, Output, Session};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

/// The body of `/containers/{id}/exec`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CreateBody {
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    detach_keys: String,
    console_size: [u16; 2],
    tty: bool,
    env: Vec<String>,
    cmd: Vec<String>,
    privileged: bool,
    user: String,
    working_dir: String,
}

/// The body of `/exec/{id}/start`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct StartBody {
    detach: bool,
    tty: bool,
    console_size: [u16; 2],
}

/// Rows and columns, if the client knows them.
fn console_size([rows, columns]: [u16; 2]) -> Option<(u16, u16)> {
    (rows > 0 && columns > 0).then_some((rows, columns))
}

pub(crate) async fn create(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let body: CreateBody = body.into()?;
    if body.cmd.first().is_none_or(String::is_empty) {
        return Err(ApiError::invalid("No exec command specified"));
    }
    DetachKeys::parse(&body.detach_keys)?;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let exec = container.create_exec(ExecSpec {
        argv: body.cmd,
        env: body.env,
        cwd: given(body.working_dir),
        user: given(body.user),
        tty: body.tty,
        stdin: body.attach_stdin,
        stdout: body.attach_stdout,
        stderr: body.attach_stderr,
        privileged: body.privileged,
        detach_keys: body.detach_keys,
    })?;
    if let Some((rows, columns)) = console_size(body.console_size).filter(|_| body.tty) {
        exec.resize(rows, columns).await?;
    }
    let answer = json!({ "Id": exec.id() }).to_string();
    Ok((
        StatusCode::CREATED,
        [(CONTENT_TYPE, "application/json")],
        answer,
    )
        .into_response())
}

pub(crate) async fn start(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    hijack: Hijack,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let exec = supervisor.exec(&id)?;
    let body: StartBody = body.into()?;
    let spec = exec.spec();
    if body.tty && !spec.tty {
        return Err(ApiError::invalid(
            "an exec gets a terminal when it is made: Tty was not said then",
        ));
    }
    let size = console_size(body.console_size).filter(|_| spec.tty);
    if body.detach {
        exec.start(None, size).await?;
        return Ok(StatusCode::OK.into_response());
    }
    let what = Attach {
        stdin: spec.stdin && hijack.is_two_way(),
        stdout: spec.stdout,
        stderr: spec.stderr,
    };
    let keys = DetachKeys::parse(&spec.detach_keys)?;
    match exec.start(Some(what), size).await {
        Ok(streams) => Ok(hijack.answer(session(&exec, what, keys, streams))),
        // A program that cannot be run is told of in its place, and its exit code is where that of another would be.
        Err(error) if matches!(exec.status(), ExecStatus::Exited { .. }) => {
            let said = format!("{}\r\n", sentence(&error));
            Ok(hijack.answer(last_words(&exec, said)))
        }
        Err(error) => Err(error.into()),
    }
}

fn session(exec: &Arc<Exec>, what: Attach, keys: DetachKeys, streams: Option<Streams>) -> Session {
    let tty = exec.spec().tty;
    let (mut output, mut input, mut detach): (Output, Option<Input>, _) =
        (Box::pin(tokio::io::empty()), None, None);
    if let Some(mut streams) = streams {
        detach = streams.detach();
        if tty {
            let (reader, writer) = streams.unframed();
            output = Box::pin(reader);
            input = Some(Box::pin(writer));
        } else {
            let (reader, writer) = streams.into_split();
            output = Box::pin(reader);
            input = Some(Box::pin(writer));
        }
    }
    Session {
        output,
        input: input.filter(|_| what.stdin),
        // Who typed into it was the only one.
        input_ends: !tty,
        keys: tty.then_some(keys),
        detach,
        tty,
    }
}

/// A session that says this and ends.
fn last_words(exec: &Exec, said: String) -> Session {
    let tty = exec.spec().tty;
    let mut bytes = said.into_bytes();
    if !tty {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let header = [[1, 0, 0, 0], length.to_be_bytes()].concat();
        bytes = [header, bytes].concat();
    }
    Session {
        output: Box::pin(std::io::Cursor::new(bytes)),
        input: None,
        input_ends: true,
        keys: None,
        detach: None,
        tty,
    }
}

pub(crate) async fn resize(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let (rows, columns) = size(&params)?;
    supervisor.exec(&id)?.resize(rows, columns).await?;
    Ok(StatusCode::OK)
}

pub(crate) async fn inspect(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let exec = supervisor.exec(&id)?;
    let spec = exec.spec();
    let (running, pid, code) = match exec.status() {
        ExecStatus::Created => (false, 0, Value::Null),
        ExecStatus::Starting => (true, 0, Value::Null),
        ExecStatus::Running { pid } => (true, pid, Value::Null),
        ExecStatus::Exited { code } => (false, 0, json!(code)),
    };
    let (program, arguments) = match spec.argv.split_first() {
        Some((program, arguments)) => (program.as_str(), arguments),
        None => ("", [].as_slice()),
    };
    Ok(lines::value(&json!({
        "ID": exec.id(),
        "ContainerID": exec.container().as_str(),
        "Running": running,
        "ExitCode": code,
        "Pid": pid,
        "ProcessConfig": {
            "tty": spec.tty,
            "entrypoint": program,
            "arguments": arguments,
            "privileged": spec.privileged,
            "user": spec.user.clone().unwrap_or_default(),
        },
        "OpenStdin": spec.stdin,
        "OpenStdout": spec.stdout,
        "OpenStderr": spec.stderr,
        "CanRemove": false,
        "DetachKeys": spec.detach_keys,
    })))
}
