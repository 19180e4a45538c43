//! The daemon's end of an owner: starting one, and asking it.

use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};

use crate::container::ContainerId;
use crate::owner::SOCKET;
use crate::owner::wire::{Answer, Ask, read_line, write_line};
use crate::{Error, Paths};

/// A connection that was answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) read: BufReader<OwnedReadHalf>,
    pub(super) write: OwnedWriteHalf,
}

/// Asks the owner of the container with this runtime directory.
pub(super) async fn ask(runtime: &Path, ask: &Ask) -> io::Result<Answered> {
    let stream = UnixStream::connect(runtime.join(SOCKET)).await?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    write_line(&mut write, ask).await?;
    let answer = read_line(&mut read).await?;
    Ok(Answered {
        answer: answer.ok_or(io::ErrorKind::UnexpectedEof)?,
        read,
        write,
    })
}

/// Whether it was not answered because there is no owner, or none for much longer.
pub(super) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
    matches!(
        error.kind(),
        NotFound | ConnectionRefused | ConnectionReset | BrokenPipe | UnexpectedEof
    )
}

/// Starts an owner; returns when it can be asked.
pub(super) async fn spawn(program: &Path, paths: &Paths, id: &ContainerId) -> Result<Child, Error> {
    let failed = |why: String| Error::Owner {
        container: id.short().to_owned(),
        why,
    };
    let mut owner = Command::new(program)
        .args(["own", "--container", id.as_str()])
        .env("HULL_ROOT", paths.root())
        .env("HULL_RUN", paths.run())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("{} cannot be started: {error}", program.display())))?;
    let mut said = String::new();
    if let Some(stdout) = owner.stdout.take() {
        let read = BufReader::new(stdout).read_line(&mut said).await;
        read.map_err(|error| failed(error.to_string()))?;
    }
    if said.ends_with('\n') {
        owner.stderr = None;
        return Ok(owner);
    }
    let mut words = String::new();
    if let Some(stderr) = &mut owner.stderr {
        // It has ended, so that this has an end.
        let _ = stderr.read_to_string(&mut words).await;
    }
    let _ = owner.wait().await;
    let words = words.trim().trim_start_matches("hull: ");
    Err(failed(words.to_owned()))
}
