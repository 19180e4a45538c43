//! How other processes reach the one that runs a container: a Unix socket in the container's runtime directory.
//!
//! A connection carries one request and one answer, each a line of JSON: `{"signal":15}` or `"end"`, then `"done"`
//! or `{"refused":"why"}`. Whoever may open the socket owns the containers; the directory is the user's alone. A signal
//! travels as a number and not as a signal to the owner, which would be that process's own: it could mean
//! something else there, be one that nobody can catch, or find an owner that passes none on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::handle::Handle;
use crate::session::Request;

/// The socket's name in the runtime directory.
pub(crate) const SOCKET: &str = "control";
/// A request or an answer is shorter than this.
const LONGEST: u64 = 4096;
/// How long either end may keep the other waiting. Nothing is waited for but the other's processor time.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of a container's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ask {
    /// A signal, 1 to 64, for the container's process; kept for it while it is being started.
    Signal(u8),
    /// The end of the machine, whatever it does.
    End,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Done,
    Refused(String),
}

/// The owner's end. Dropping this closes it.
#[derive(Debug)]
pub(crate) struct Control {
    task: JoinHandle<()>,
    socket: PathBuf,
}

impl Control {
    /// Serves what is asked of a container. `runtime` is its runtime directory, which exists.
    pub(crate) fn listen(runtime: &Path, handle: Arc<Handle>) -> io::Result<Self> {
        let socket = runtime.join(SOCKET);
        let listener = UnixListener::bind(&socket)?;
        let task = tokio::spawn(async move {
            // An error here is one of a connection, or of too many open files for a moment.
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(serve(stream, Arc::clone(&handle)))),
                    Err(error) => {
                        tracing::warn!(%error, "a connection to a container's owner was lost");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        Ok(Self { task, socket })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn serve(stream: UnixStream, handle: Arc<Handle>) {
    let exchange = async {
        let mut stream = BufReader::new(stream);
        let answer = match read_line(&mut stream).await? {
            Ok(Ask::Signal(signal @ 1..=64)) => {
                // Nobody receives it when the process has just ended, which is all the same.
                let _ = handle.requests.send(Request::Signal(signal));
                Answer::Done
            }
            Ok(Ask::Signal(other)) => Answer::Refused(format!("{other} is no signal")),
            Ok(Ask::End) => {
                handle.kill.cancel();
                Answer::Done
            }
            Err(error) => Answer::Refused(format!("the request is not understood: {error}")),
        };
        write_line(stream.get_mut(), &answer).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, exchange).await {
        tracing::debug!(%error, "a request to a container's owner was not answered");
    }
}

/// Asks the owner of the container with this runtime directory.
///
/// # Errors
/// Nobody listens there, or the owner does not answer or does not want to.
pub(crate) async fn ask(runtime: &Path, what: Ask) -> io::Result<()> {
    let exchange = async {
        let mut stream = BufReader::new(UnixStream::connect(runtime.join(SOCKET)).await?);
        write_line(stream.get_mut(), &what).await?;
        match read_line(&mut stream).await? {
            Ok(Answer::Done) => Ok(()),
            Ok(Answer::Refused(why)) => Err(io::Error::other(why)),
            Err(error) => Err(error.into()),
        }
    };
    tokio::time::timeout(PATIENCE, exchange).await?
}

async fn read_line<T: for<'de> Deserialize<'de>>(
    stream: &mut BufReader<UnixStream>,
) -> io::Result<serde_json::Result<T>> {
    let mut line = String::new();
    stream.take(LONGEST).read_line(&mut line).await?;
    Ok(serde_json::from_str(&line))
}

async fn write_line(stream: &mut UnixStream, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line).await
}
