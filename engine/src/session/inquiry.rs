//! Questions to the agent of a container's machine that have nothing to do with its processes' streams: what it uses, which processes
//! there are, another network, other limits, and its files. Each [`Inquiry`] is a channel of its own, beside those of processes.
//!
//! A machine whose vCPUs stand still does not answer, so every wait has an end.

use std::io;
use std::path::Path;
use std::time::Duration;

use hull_agent_protocol::{EngineEnd, Event, FrameError, Stream};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

pub use hull_agent_protocol::{
    Address, Change, ChangeKind, CpuQuota, CpuStats, DiskStats, FailureKind, FileStat, Files,
    Interface, InterfaceStats, Limits, MemoryStats, Network, ProcessInfo, Processes, Stats,
    Traffic, Write,
};

use super::SessionError;

/// A guest that says nothing for so long does not answer any more. One that is asked for how its files differ looks at all of them
/// before it says the first word.
const PATIENCE: Duration = Duration::from_secs(300);

/// The most that is kept of an answer that is taken as a whole.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A channel on which one asks.
#[derive(Debug)]
pub struct Inquiry {
    stream: UnixStream,
    end: EngineEnd,
    buffer: Vec<u8>,
}

/// What came.
#[derive(Debug)]
enum Answer {
    Done,
    Stats(Box<Stats>),
    Processes(Processes),
    Started,
    Output(Vec<u8>),
    Room,
    /// With this status.
    Ended(u8),
}

impl Inquiry {
    /// Connects to the agent of a configured machine by the socket of its vsock device.
    ///
    /// # Errors
    /// Nobody answers there.
    pub async fn connect(vsock: &Path) -> Result<Self, SessionError> {
        let connected = timeout(PATIENCE, super::connect(vsock)).await;
        connected
            .unwrap_or(Err(SessionError::Silent(PATIENCE)))
            .map(Self::over)
    }

    fn over(stream: UnixStream) -> Self {
        Self {
            stream,
            end: EngineEnd::new(),
            buffer: vec![0; 64 * 1024],
        }
    }

    /// What the container uses. Any number of times.
    ///
    /// # Errors
    /// The agent refuses, or does not answer any more: this channel is over.
    pub async fn stats(&mut self) -> Result<Stats, SessionError> {
        self.end.stats();
        match self.answer().await? {
            Answer::Stats(stats) => Ok(*stats),
            other => Err(unexpected(&other)),
        }
    }

    /// The container's processes. Any number of times.
    ///
    /// # Errors
    /// As for [`stats`](Self::stats).
    pub async fn processes(&mut self) -> Result<Processes, SessionError> {
        self.end.processes();
        match self.answer().await? {
            Answer::Processes(processes) => Ok(processes),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives the container another network, which is all that it has afterwards.
    ///
    /// # Errors
    /// As for [`stats`](Self::stats).
    pub async fn set_network(&mut self, network: Network) -> Result<(), SessionError> {
        self.end.network(network).map_err(SessionError::TooLong)?;
        self.done().await
    }

    /// Gives the container other limits, which are all that it has afterwards.
    ///
    /// # Errors
    /// As for [`stats`](Self::stats).
    pub async fn set_limits(&mut self, limits: Limits) -> Result<(), SessionError> {
        self.end.limit(limits);
        self.done().await
    }

    /// What a path of the container is.
    ///
    /// # Errors
    /// There is no such path, or the agent does not answer.
    pub async fn file_stat(self, path: impl Into<String>) -> Result<FileStat, SessionError> {
        let path = path.into();
        let mut reading = self.read(Files::Stat { path }).await?;
        let mut all = Vec::new();
        while let Some(piece) = reading.next().await? {
            extend(&mut all, &piece)?;
        }
        Ok(FileStat::decode(&all)?)
    }

    /// How the container's root differs from its image, parents before what is in them.
    ///
    /// # Errors
    /// The agent does not answer, or sends something else.
    pub async fn changes(self) -> Result<Vec<Change>, SessionError> {
        let mut reading = self.read(Files::Changes).await?;
        let mut changes = hull_agent_protocol::Changes::default();
        let (mut all, mut total) = (Vec::new(), 0);
        while let Some(piece) = reading.next().await? {
            total += piece.len();
            if total > MAX_ANSWER {
                return Err(SessionError::TooMuch(MAX_ANSWER));
            }
            all.extend(changes.received(&piece)?);
        }
        match changes.is_complete() {
            true => Ok(all),
            false => Err(SessionError::Lost(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Begins to read what [`Files::Read`], [`Files::Layer`] or [`Files::Export`] ask for: a tar archive. That there is no such path is
    /// found out with the first piece.
    ///
    /// # Errors
    /// The agent refuses, or does not answer.
    pub async fn read(mut self, files: Files) -> Result<Reading, SessionError> {
        self.begin(files).await?;
        Ok(Reading {
            inquiry: self,
            untaken: 0,
            is_over: false,
        })
    }

    /// Begins to unpack a tar archive in the container.
    ///
    /// # Errors
    /// The agent refuses, or does not answer.
    pub async fn write(mut self, write: Write) -> Result<Writing, SessionError> {
        self.begin(Files::Write(write)).await?;
        Ok(Writing {
            inquiry: self,
            is_over: false,
        })
    }

    async fn begin(&mut self, files: Files) -> Result<(), SessionError> {
        let asked: Result<(), FrameError> = self.end.files(files);
        asked.map_err(SessionError::TooLong)?;
        match self.answer().await? {
            Answer::Started => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn done(&mut self) -> Result<(), SessionError> {
        match self.answer().await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends what is to be sent and waits for the next thing to come.
    async fn answer(&mut self) -> Result<Answer, SessionError> {
        loop {
            if let Some(answer) = self.event()? {
                return Ok(answer);
            }
            let sends = !self.end.outgoing().is_empty();
            tokio::select! {
                () = sleep(PATIENCE) => return Err(SessionError::Silent(PATIENCE)),
                ready = self.stream.readable() => {
                    ready.map_err(SessionError::Lost)?;
                    super::receive(&self.stream, &mut self.end, &mut self.buffer)?;
                }
                ready = self.stream.writable(), if sends => {
                    ready.map_err(SessionError::Lost)?;
                    super::send(&self.stream, &mut self.end)?;
                }
            }
        }
    }

    fn event(&mut self) -> Result<Option<Answer>, SessionError> {
        while let Some(event) = self.end.event()? {
            return Ok(Some(match event {
                // Nobody asked for the last two, so they do not come.
                Event::Ready | Event::Configured { .. } | Event::Held => continue,
                Event::Done => Answer::Done,
                Event::Stats(stats) => Answer::Stats(stats),
                Event::Processes(processes) => Answer::Processes(processes),
                Event::Started { .. } => Answer::Started,
                Event::Failed(failure) => return Err(SessionError::Refused(failure)),
                Event::Output(_, data) => Answer::Output(data.to_vec()),
                Event::StdinRoom => Answer::Room,
                Event::Exited { status, .. } => Answer::Ended(status.code()),
            }));
        }
        Ok(None)
    }
}

/// Output that is being read. Dropped before its end, what makes it ends, too.
#[derive(Debug)]
pub struct Reading {
    inquiry: Inquiry,
    /// Bytes that the last call gave and whose room the guest does not have back yet.
    untaken: usize,
    is_over: bool,
}

impl Reading {
    /// The next piece; `None` at the end, when all has come. The guest waits while nobody calls this.
    ///
    /// # Errors
    /// It could not be read, or not all of it.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, SessionError> {
        if self.is_over {
            return Ok(None);
        }
        let untaken = std::mem::take(&mut self.untaken);
        self.inquiry.end.consumed(Stream::Stdout, untaken);
        loop {
            match self.inquiry.answer().await? {
                Answer::Output(data) => {
                    self.untaken = data.len();
                    return Ok(Some(data));
                }
                Answer::Ended(status) => {
                    self.is_over = true;
                    return ended(status).map(|()| None);
                }
                Answer::Room => {}
                other => return Err(unexpected(&other)),
            }
        }
    }
}

/// Output for a thread that may block.
#[derive(Debug)]
pub struct Blocking {
    reading: Reading,
    runtime: tokio::runtime::Handle,
    piece: io::Cursor<Vec<u8>>,
}

impl Reading {
    /// The same to be read by a thread that may block, and is none of the runtime's own.
    pub fn into_read(self) -> Blocking {
        Blocking {
            reading: self,
            runtime: tokio::runtime::Handle::current(),
            piece: io::Cursor::default(),
        }
    }
}

impl io::Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.piece.read(buffer)? {
                0 if !buffer.is_empty() => {}
                count => return Ok(count),
            }
            let next = self.runtime.block_on(self.reading.next());
            match next.map_err(io::Error::other)? {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}

/// An archive that is being unpacked. Dropped before its end, the unpacking ends, too, wherever it is.
#[derive(Debug)]
pub struct Writing {
    inquiry: Inquiry,
    is_over: bool,
}

impl Writing {
    /// Passes a piece of the archive on; waits while the guest has no room for it.
    ///
    /// # Errors
    /// It could not be unpacked.
    pub async fn write(&mut self, mut data: &[u8]) -> Result<(), SessionError> {
        while !self.is_over && !data.is_empty() {
            let taken = self.inquiry.end.stdin(data);
            data = data.get(taken..).unwrap_or_default();
            if taken == 0 {
                match self.inquiry.answer().await? {
                    Answer::Room => {}
                    // What comes behind the end of an archive means nothing.
                    Answer::Ended(status) => {
                        self.is_over = true;
                        return ended(status);
                    }
                    other => return Err(unexpected(&other)),
                }
            }
        }
        Ok(())
    }

    /// Ends the archive, and waits until all of it is unpacked.
    ///
    /// # Errors
    /// It could not be unpacked.
    pub async fn finish(mut self) -> Result<(), SessionError> {
        if self.is_over {
            return Ok(());
        }
        self.inquiry.end.close(Stream::Stdin);
        loop {
            match self.inquiry.answer().await? {
                Answer::Room => {}
                Answer::Ended(status) => return ended(status),
                other => return Err(unexpected(&other)),
            }
        }
    }
}

fn ended(status: u8) -> Result<(), SessionError> {
    match status {
        0 => Ok(()),
        status => Err(SessionError::Unfinished(status)),
    }
}

fn extend(all: &mut Vec<u8>, piece: &[u8]) -> Result<(), SessionError> {
    if all.len() + piece.len() > MAX_ANSWER {
        return Err(SessionError::TooMuch(MAX_ANSWER));
    }
    all.extend_from_slice(piece);
    Ok(())
}

/// The protocol's order does not let this come.
fn unexpected(answer: &Answer) -> SessionError {
    let message = format!("the agent in the guest answered with {answer:?}");
    SessionError::Lost(io::Error::new(io::ErrorKind::InvalidData, message))
}

#[cfg(test)]
mod tests;
