//! What a daemon and an owner say to each other.
//!
//! A connection carries one question and its answer, each a line of JSON. Behind the answer to `attach`, and to `exec` with streams, follow the
//! streams: from the owner in Docker's form (a byte 1 or 2 for standard output or error, three of zero, a length of four bytes, big
//! endian, and so many bytes), to the owner as a length of four bytes, big endian, and so many bytes, where
//! [`END_OF_INPUT`] is the end of standard input and [`DETACH`] says that the client leaves without ending anything. Behind the answer to
//! `watch` follow lines, each of which is a [`Happening`].

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::ExecSpec;
use crate::ErrorKind;
use crate::engine::Origin;
use crate::health::HealthStatus;
use crate::timing::StartedFrom;

/// No line is longer: arguments and the environment of an exec are at most so long, and so is what is told of all that are known.
const LONGEST: u64 = 4 * 1024 * 1024;

/// The length that stands for the end of standard input.
pub(crate) const END_OF_INPUT: u32 = 0;
/// The length that stands for a client that leaves.
pub(crate) const DETACH: u32 = u32::MAX;
/// One piece of standard input is not longer.
pub(crate) const LONGEST_PIECE: usize = 64 * 1024;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ask {
    /// Starts the container.
    Start {
        origin: Origin,
        /// Whether its VMM is to write down what it has counted, at the end.
        measure: bool,
    },
    /// Ends its machine, or its start.
    End,
    /// Connects to the streams of the container, or of an exec that runs.
    Attach { exec: Option<String>, what: Attach },
    /// Runs a process in the container, under a name of the daemon's choice.
    Exec {
        id: String,
        spec: Box<ExecSpec>,
        size: Option<(u16, u16)>,
        attach: Option<Attach>,
    },
    /// The size of a terminal.
    Resize {
        exec: Option<String>,
        rows: u16,
        columns: u16,
    },
    /// What happens from now on.
    Watch,
    /// Gives the container up if it was not started; if its machine runs without its process, as soon as that has ended.
    Leave,
    /// Starts its machine without its process, which ends with the connection, or when the asker closes its half of that; then comes
    /// another answer, `Done` or `Left`.
    Visit {
        /// It is in its networks.
        wired: bool,
    },
    /// Starts the container as it was at a checkpoint of its own.
    StartFrom(String),
}

/// What a client wants of a process's streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// To write its standard input.
    pub stdin: bool,
    /// To read its standard output.
    pub stdout: bool,
    /// To read its standard error.
    pub stderr: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Done,
    /// Done, and nobody waits for the container's start: its owner goes.
    Left,
    /// The container's process runs: what its machine began as, and where the time went, in microseconds.
    Started {
        from: StartedFrom,
        steps: Vec<(String, u64)>,
    },
    /// An exec's process runs, with this number in the guest.
    Runs(u32),
    /// These execs are known.
    Execs(Vec<ExecSeen>),
    Failed(Failed),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) message: String,
    /// As Docker's client exits: 125, 126 or 127.
    pub(crate) code: u8,
    /// What it is to whoever asked the daemon.
    #[serde(default)]
    pub(crate) kind: ErrorKind,
}

/// What a daemon learns that was not there when an exec was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExecSeen {
    pub(crate) id: String,
    pub(crate) spec: ExecSpec,
    pub(crate) pid: u32,
    /// Its exit code, if it has ended.
    pub(crate) code: Option<u8>,
}

/// What those hear of who watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Happening {
    /// The container's process runs. It is said before the answer to whoever had it started.
    Started,
    /// The container's process ended; its output was passed on, its state written.
    Exited,
    /// An exec ended.
    ExecExited { id: String, code: u8 },
    /// The container is another way now, as its health checks say.
    Health(HealthStatus),
}

/// Reads one line; nothing at the end of the connection.
///
/// A line that is too long is another mistake (`InvalidData`) than one that the end of the connection cuts off (`UnexpectedEof`).
pub(crate) async fn read_line<T: DeserializeOwned>(
    stream: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let count = stream.take(LONGEST).read_until(b'\n', &mut line).await?;
    if count == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() {
        return Err(match line.len() as u64 {
            LONGEST.. => io::Error::new(io::ErrorKind::InvalidData, "a line is too long"),
            _ => io::ErrorKind::UnexpectedEof.into(),
        });
    }
    let what = serde_json::from_slice(&line);
    what.map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

pub(crate) async fn write_line(
    stream: &mut (impl AsyncWrite + Unpin),
    what: &impl Serialize,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> io::Result<Option<Answer>> {
        read_line(&mut bytes).await
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_or_none_of_ours_is_no_end_of_the_connection() {
        assert!(read(b"").await.unwrap().is_none());
        assert_eq!(read(b"\"done\"\n").await.unwrap(), Some(Answer::Done));
        let long = vec![b' '; usize::try_from(LONGEST).unwrap() + 1];
        for (line, kind) in [
            (&b"\"do"[..], io::ErrorKind::UnexpectedEof),
            (b"\"do\n", io::ErrorKind::InvalidData),
            (b"\"undone\"\n", io::ErrorKind::InvalidData),
            (&long, io::ErrorKind::InvalidData),
        ] {
            assert_eq!(read(line).await.unwrap_err().kind(), kind);
        }
    }
}
