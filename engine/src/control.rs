//! How other processes reach the one that runs a container: a Unix socket in the container's runtime directory.
//!
//! A connection carries one request and one answer, each a line of JSON: `{"signal":15}`, `"end"` or `{"errand":"pause"}`, then
//! `"done"` or `{"refused":"why"}`. Whoever may open the socket owns the containers; the directory is the user's alone. A signal
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

use crate::errand::What;
use crate::handle::Handle;
use crate::session::Request;

/// The socket's name in the runtime directory.
pub(crate) const SOCKET: &str = "control";
/// A request or an answer is shorter than this.
const LONGEST: u64 = 4096;
/// How long either end may keep the other waiting. Nothing is waited for but the other's processor time.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for an errand, which may write all of a machine's memory to a disk.
const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// What is asked of a container's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ask {
    /// A signal, 1 to 64, for the container's process; kept for it while it is being started.
    Signal(u8),
    /// The end of the machine, whatever it does.
    End,
    /// Something that takes time.
    Errand(What),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Done,
    /// So long the container stood still, in microseconds.
    StoodStill(u64),
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
            Ok(Ask::Errand(what)) => match handle.run(what).await {
                Ok(time) => Answer::StoodStill(time.as_micros().try_into().unwrap_or(u64::MAX)),
                Err(why) => Answer::Refused(why),
            },
            Err(error) => Answer::Refused(format!("the request is not understood: {error}")),
        };
        write_line(stream.get_mut(), &answer).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(LONG_PATIENCE, exchange).await {
        tracing::debug!(%error, "a request to a container's owner was not answered");
    }
}

/// Asks the owner of the container with this runtime directory; how long the container stood still for it.
///
/// # Errors
/// Nobody listens there, or the owner does not answer or does not want to.
pub(crate) async fn ask(runtime: &Path, what: Ask) -> io::Result<Duration> {
    let patience = match what {
        Ask::Errand(_) => LONG_PATIENCE,
        Ask::Signal(_) | Ask::End => PATIENCE,
    };
    let exchange = async {
        let mut stream = BufReader::new(UnixStream::connect(runtime.join(SOCKET)).await?);
        write_line(stream.get_mut(), &what).await?;
        match read_line(&mut stream).await? {
            Ok(Answer::Done) => Ok(Duration::ZERO),
            Ok(Answer::StoodStill(time)) => Ok(Duration::from_micros(time)),
            Ok(Answer::Refused(why)) => Err(io::Error::other(why)),
            Err(error) => Err(error.into()),
        }
    };
    tokio::time::timeout(patience, exchange).await?
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
