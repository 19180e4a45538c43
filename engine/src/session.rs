//! One process's channel to its agent: moves bytes between the protocol's state machine, the
//! attached client and the socket. Whatever the guest sends, this neither blocks on it nor holds
//! more than the protocol's windows.

use std::io;
use std::time::Duration;

use hull_agent_protocol::{
    Adopt, Configure, EngineEnd, Event, ExitStatus, Failure, FrameError, Malformed, Start, Stdio,
    Stream, TtySize, Violation,
};
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

pub mod inquiry;
mod rest;

pub(crate) use rest::{Idle, Mounting, connect, hold, idle};

use crate::attachment::{self, Attached, Output, OutputStream, Receipt};

/// What other parts of the engine ask of a running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A signal, 1 to 64, for the process.
    Signal(u8),
    /// The terminal's new size.
    Resize(TtySize),
}

/// How a process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessEnd {
    pub(crate) status: ExitStatus,
    pub(crate) oom_killed: bool,
}

/// What ends a session before the process does.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The agent could not do what it was asked.
    #[error(transparent)]
    Refused(Failure),
    /// The arguments and the environment are more than a message holds.
    #[error("the command and its environment are too long for the agent")]
    TooLong(#[source] FrameError),
    /// The agent does not keep to the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The connection is gone; the machine, most likely, too.
    #[error("the connection to the agent in the guest broke")]
    Lost(#[source] io::Error),
    /// What was done with files ended without a word: it was killed.
    #[error("what the agent in the guest did with files ended with status {0}")]
    Unfinished(u8),
    /// What came is not what was asked for.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The guest says nothing.
    #[error("the agent in the guest did not answer for {} seconds", .0.as_secs())]
    Silent(Duration),
    /// The guest sends more than it can have.
    #[error("the agent in the guest sent more than {0} bytes for an answer")]
    TooMuch(usize),
}

/// When things happened in the guest, in microseconds since its kernel started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GuestTimes {
    pub(crate) main: u64,
    pub(crate) ready: u64,
    pub(crate) configured: u64,
    pub(crate) started: u64,
}

/// Who is at the other end of a process's streams.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) attached: Attached,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    /// Signals that came before the start, for the process as soon as it runs.
    pub(crate) early: Vec<u8>,
    /// Whether what the client sends is the process's input. A terminal without a client that types
    /// is no closed terminal, so the end of input is not passed on then.
    pub(crate) open_stdin: bool,
}

/// How a machine becomes a container's.
#[derive(Debug)]
pub(crate) enum Opening {
    /// It has booted, or is as if it had.
    Configure(Configure),
    /// It was configured for any container like this one.
    Adopt(Adopt),
    /// It is one: the process is one more in it.
    Nothing,
}

/// What runs in a container's machine.
#[derive(Debug)]
pub(crate) enum Process {
    Start(Start),
    /// What ran when the machine was saved.
    Attach(Stdio),
}

impl Process {
    fn stdio(&self) -> Stdio {
        match self {
            Self::Start(start) => start.stdio,
            Self::Attach(stdio) => *stdio,
        }
    }
}

/// A channel with its process.
#[derive(Debug)]
pub(crate) struct Session {
    stream: UnixStream,
    end: EngineEnd,
    buffer: Vec<u8>,
    /// Input that found no room yet.
    input: Vec<u8>,
    attached: Attached,
    /// The client's side is still there.
    receives_input: bool,
    receives_receipts: bool,
    /// Bytes that the client has not passed on yet.
    untaken: [(OutputStream, usize); 2],
    requests: mpsc::UnboundedReceiver<Request>,
    /// As [`Client`] has them.
    early: Vec<u8>,
    open_stdin: bool,
    times: GuestTimes,
    /// The process's number in the guest.
    pid: u32,
}

/// What one step of a session brought.
enum Step {
    Nothing,
    Started,
    Held,
    Ended(ProcessEnd),
}

impl Session {
    /// Takes over a new connection and queues everything up to the start: one round trip.
    pub(crate) fn open(
        stream: UnixStream,
        opening: Opening,
        process: Process,
        client: Client,
    ) -> Result<Self, SessionError> {
        let mut end = EngineEnd::new();
        let open_stdin = client.open_stdin;
        let stdio = process.stdio();
        let receives_input = matches!(stdio, Stdio::Pipes { stdin: true })
            || (open_stdin && matches!(stdio, Stdio::Terminal(_)));
        let opened = match opening {
            Opening::Configure(configure) => end.configure(configure),
            Opening::Adopt(adopt) => end.adopt(adopt),
            Opening::Nothing => Ok(()),
        };
        opened.map_err(SessionError::TooLong)?;
        match process {
            Process::Start(start) => end.start(start).map_err(SessionError::TooLong)?,
            Process::Attach(stdio) => {
                end.attach();
                if let Stdio::Terminal(size) = stdio {
                    end.resize(size);
                }
            }
        }
        for signal in &client.early {
            end.signal(*signal);
        }
        Ok(Self {
            stream,
            end,
            buffer: vec![0; 128 * 1024],
            input: Vec::new(),
            attached: client.attached,
            receives_input,
            receives_receipts: true,
            untaken: [(OutputStream::Stdout, 0), (OutputStream::Stderr, 0)],
            requests: client.requests,
            early: client.early,
            open_stdin,
            times: GuestTimes::default(),
            pid: 0,
        })
    }

    /// The number of its process in the guest, once it has started.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The client of a process that never started.
    pub(crate) fn into_client(self) -> Client {
        Client {
            attached: self.attached,
            requests: self.requests,
            early: self.early,
            open_stdin: self.open_stdin,
        }
    }

    /// Goes on until the process has started.
    pub(crate) async fn started(&mut self) -> Result<GuestTimes, SessionError> {
        loop {
            match self.step().await? {
                Step::Started => return Ok(self.times),
                // The agent cannot say so before it said that the process started.
                Step::Nothing | Step::Held | Step::Ended(_) => {}
            }
        }
    }

    /// Has the machine leave its process frozen, and the agent the engine. If the process ends first, how.
    pub(crate) async fn hold(&mut self) -> Result<Option<ProcessEnd>, SessionError> {
        self.end.hold();
        loop {
            match self.step().await? {
                Step::Ended(end) => return Ok(Some(end)),
                Step::Held => break,
                Step::Nothing | Step::Started => {}
            }
        }
        // The guest has nothing more to do for this connection when it is closed.
        loop {
            self.stream.readable().await.map_err(SessionError::Lost)?;
            match self.stream.try_read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(_) => return Err(SessionError::Lost(io::ErrorKind::InvalidData.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(SessionError::Lost(error)),
            }
        }
    }

    /// Goes on with the frozen process, over another connection to its agent.
    pub(crate) async fn attach(&mut self, stream: UnixStream) -> Result<(), SessionError> {
        self.stream = stream;
        self.end = EngineEnd::new();
        self.end.attach();
        self.started().await.map(drop)
    }

    /// Goes on until the process has ended and all of its output was queued for the client.
    pub(crate) async fn ended(&mut self) -> Result<ProcessEnd, SessionError> {
        loop {
            if let Step::Ended(end) = self.step().await? {
                return Ok(end);
            }
        }
    }

    /// Lets go of the client: for it the process's output has ended.
    pub(crate) fn detached(mut self) -> Self {
        let (_, nobody) = attachment::pair();
        self.attached = nobody;
        self
    }

    /// Asks the machine to write everything to its disk and power off.
    pub(crate) async fn shut_down(mut self) -> Result<(), SessionError> {
        self.end.shutdown();
        while !self.end.outgoing().is_empty() {
            self.stream.writable().await.map_err(SessionError::Lost)?;
            send(&self.stream, &mut self.end)?;
        }
        // The connection must stay until the machine is off: closing it asks for that, too, but
        // could overtake the request.
        loop {
            self.stream.readable().await.map_err(SessionError::Lost)?;
            if matches!(self.stream.try_read(&mut self.buffer), Ok(0)) {
                return Ok(());
            }
        }
    }

    /// Waits for whatever comes first and deals with it.
    async fn step(&mut self) -> Result<Step, SessionError> {
        if let Some(step) = self.event()? {
            return Ok(step);
        }
        let sends = !self.end.outgoing().is_empty();
        let takes_input = self.receives_input && self.input.is_empty();
        tokio::select! {
            ready = self.stream.readable() => {
                ready.map_err(SessionError::Lost)?;
                receive(&self.stream, &mut self.end, &mut self.buffer)?;
            }
            ready = self.stream.writable(), if sends => {
                ready.map_err(SessionError::Lost)?;
                send(&self.stream, &mut self.end)?;
            }
            Some(request) = self.requests.recv() => match request {
                Request::Signal(signal) => self.end.signal(signal),
                Request::Resize(size) => self.end.resize(size),
            },
            receipt = self.attached.receipts.recv(), if self.receives_receipts => self.receipt(receipt),
            data = self.attached.input.recv(), if takes_input => match data {
                Some(data) => self.input = data,
                None => {
                    self.receives_input = false;
                    self.end.close(Stream::Stdin);
                }
            },
        }
        self.pass_input();
        Ok(Step::Nothing)
    }

    fn receipt(&mut self, receipt: Option<Receipt>) {
        match receipt {
            Some(Receipt::Taken(stream, bytes)) => {
                for (_, untaken) in self
                    .untaken
                    .iter_mut()
                    .filter(|(known, _)| *known == stream)
                {
                    *untaken = untaken.saturating_sub(bytes);
                }
                self.end.consumed(stream.into(), bytes);
            }
            Some(Receipt::Closed(stream)) => self.end.close(stream.into()),
            // The client is gone, and what it had not taken yet is lost: the process goes on.
            None => {
                self.receives_receipts = false;
                for (stream, untaken) in &mut self.untaken {
                    self.end.consumed((*stream).into(), std::mem::take(untaken));
                }
            }
        }
    }

    fn pass_input(&mut self) {
        if !self.input.is_empty() {
            let taken = self.end.stdin(&self.input);
            self.input.drain(..taken);
        }
    }

    /// Deals with the next event that has already arrived.
    fn event(&mut self) -> Result<Option<Step>, SessionError> {
        let Some(event) = self.end.event()? else {
            return Ok(None);
        };
        let step = match event {
            // Nothing was asked for that has an answer.
            Event::Ready
            | Event::StdinRoom
            | Event::Done
            | Event::Stats(_)
            | Event::Processes(_) => Step::Nothing,
            Event::Held => Step::Held,
            Event::Configured {
                main_us,
                ready_us,
                at_us,
            } => {
                self.times = GuestTimes {
                    main: main_us,
                    ready: ready_us,
                    configured: at_us,
                    started: 0,
                };
                Step::Nothing
            }
            Event::Started { at_us, pid } => {
                self.pid = pid;
                self.times.started = at_us;
                Step::Started
            }
            Event::Failed(failure) => return Err(SessionError::Refused(failure)),
            Event::Exited {
                status, oom_killed, ..
            } => Step::Ended(ProcessEnd { status, oom_killed }),
            Event::Output(stream, data) => {
                let (length, data) = (data.len(), data.to_vec());
                self.pass_output(stream, data, length);
                Step::Nothing
            }
        };
        self.pass_input();
        Ok(Some(step))
    }

    /// Queues output for the client; without one it is dropped, and the process goes on.
    fn pass_output(&mut self, stream: Stream, data: Vec<u8>, length: usize) {
        let output = match stream {
            Stream::Stderr => OutputStream::Stderr,
            Stream::Stdin | Stream::Stdout => OutputStream::Stdout,
        };
        if !self.receives_receipts
            || self
                .attached
                .output
                .send(Output {
                    stream: output,
                    data,
                })
                .is_err()
        {
            self.end.consumed(stream, length);
            return;
        }
        for (_, untaken) in self
            .untaken
            .iter_mut()
            .filter(|(known, _)| *known == output)
        {
            *untaken += length;
        }
    }
}

#[cfg(test)]
mod tests;

/// Takes what has come from an agent; nothing is no error.
fn receive(
    stream: &UnixStream,
    end: &mut EngineEnd,
    buffer: &mut [u8],
) -> Result<(), SessionError> {
    match stream.try_read(buffer) {
        Ok(0) => Err(SessionError::Lost(io::ErrorKind::UnexpectedEof.into())),
        Ok(count) => {
            end.received(buffer.get(..count).unwrap_or_default());
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(SessionError::Lost(error)),
    }
}

/// Sends to an agent as much as there is room for.
fn send(stream: &UnixStream, end: &mut EngineEnd) -> Result<(), SessionError> {
    match stream.try_write(end.outgoing()) {
        Ok(count) => {
            end.sent(count);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(SessionError::Lost(error)),
    }
}
