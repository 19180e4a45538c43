//! One connection to the engine, with the process that it carries.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_agent_protocol::{
    Frame, FrameError, FromAgent, Overrun, Received, Stream, ToAgent, VERSION, decode, encode,
};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::process::{Process, Progress};
use crate::sys::read;

/// How much is read from the connection at once.
const READ_SIZE: usize = 64 * 1024;

/// Streams are not read while so much waits to be sent.
const OUTGOING_FULL: usize = 64 * 1024;

/// How often a channel goes on in one turn before the others have theirs.
const ROUNDS: usize = 4;

/// One connection.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    /// The connection that the agent made; without it the machine has no purpose.
    pub(crate) control: bool,
    incoming: Vec<u8>,
    /// How much of `incoming` is done with.
    taken: usize,
    outgoing: Vec<u8>,
    /// How much of `outgoing` is sent.
    sent: usize,
    pub(crate) phase: Phase,
    pub(crate) process: Option<Process>,
}

/// Where a channel is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The engine has not said hello.
    Greeting,
    /// It has; requests may come.
    Idle,
    /// Its process runs, or its output is still under way.
    Running,
    /// Nothing but `Shutdown` counts any more.
    Over,
    /// The agent closes it as soon as everything is sent.
    Leaving,
    /// The connection is gone, or what came over it made no sense.
    Closed,
}

/// Why a channel cannot go on.
#[derive(Debug)]
pub(crate) enum Broken {
    Frame(FrameError),
    Window(Overrun),
    Order(&'static str),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Frame(error) => error.fmt(f),
            Broken::Window(error) => error.fmt(f),
            Broken::Order(what) => f.write_str(what),
        }
    }
}

impl Channel {
    /// A connection, with the agent's `Hello` waiting to be sent.
    pub(crate) fn new(socket: OwnedFd, control: bool) -> Self {
        let mut channel = Self {
            socket,
            control,
            incoming: Vec::new(),
            taken: 0,
            outgoing: Vec::new(),
            sent: 0,
            phase: Phase::Greeting,
            process: None,
        };
        channel.queue(&FromAgent::Hello { version: VERSION });
        channel
    }

    /// Queues a message; all that the agent sends are far below the limit, or are cut to it.
    pub(crate) fn queue(&mut self, message: &FromAgent) {
        let _ = encode(message, &mut self.outgoing);
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn has_outgoing(&self) -> bool {
        self.sent < self.outgoing.len()
    }

    /// Whether output may be read from the process now.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.len() - self.sent < OUTGOING_FULL
    }

    /// Reads what has come.
    pub(crate) fn receive(&mut self) {
        self.incoming.drain(..std::mem::take(&mut self.taken));
        match read::append(&self.socket, &mut self.incoming, READ_SIZE) {
            Ok(1..) | Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) | Err(_) => self.phase = Phase::Closed,
        }
    }

    /// The next message for the server; data, credit and the like are dealt with here.
    pub(crate) fn next(&mut self) -> Result<Option<ToAgent>, Broken> {
        while self.phase != Phase::Closed {
            let input = self.incoming.get(self.taken..).unwrap_or_default();
            let Some(Received { frame, consumed }) =
                decode::<ToAgent>(input).map_err(Broken::Frame)?
            else {
                return Ok(None);
            };
            self.taken += consumed;
            let message = match frame {
                Frame::Data(_, data) => {
                    let credit = match &mut self.process {
                        Some(process) => process.input.receive(data).map_err(Broken::Window)?,
                        // Sent before the engine knew that there is no process.
                        None => None,
                    };
                    self.queue_credit(credit);
                    continue;
                }
                Frame::Message(message) => message,
            };
            match (self.phase, message) {
                (Phase::Greeting, ToAgent::Hello { version: VERSION }) => self.phase = Phase::Idle,
                (Phase::Greeting, _) => return Err(Broken::Order("no hello of this version")),
                (_, ToAgent::Hello { .. }) => return Err(Broken::Order("a second hello")),
                (_, ToAgent::Credit { stream, bytes }) => self.credit(stream, bytes)?,
                (_, ToAgent::Close(stream)) => self.close_stream(stream),
                (_, ToAgent::Resize(size)) => {
                    if let Some(process) = &self.process {
                        process.input.resize(size);
                    }
                }
                (_, message) => return Ok(Some(message)),
            }
        }
        Ok(None)
    }

    fn credit(&mut self, stream: Stream, bytes: u32) -> Result<(), Broken> {
        let outputs = self
            .process
            .iter_mut()
            .flat_map(|process| &mut process.outputs);
        match outputs.into_iter().find(|output| output.stream() == stream) {
            Some(output) => output.credit(bytes).map_err(Broken::Window),
            None => Ok(()),
        }
    }

    fn close_stream(&mut self, stream: Stream) {
        let Some(process) = &mut self.process else {
            return;
        };
        match stream {
            Stream::Stdin => process.input.end(),
            _ => {
                let mut outputs = process.outputs.iter_mut();
                if let Some(output) = outputs.find(|output| output.stream() == stream) {
                    output.close();
                }
            }
        }
    }

    /// The process has room for standard input again.
    pub(crate) fn flush_input(&mut self) {
        let credit = self
            .process
            .as_mut()
            .and_then(|process| process.input.flush());
        self.queue_credit(credit);
    }

    fn queue_credit(&mut self, credit: Option<u32>) {
        // What was taken after the end needs no credit: nothing more will be read.
        let running = self
            .process
            .as_ref()
            .is_some_and(|process| process.ended.is_none());
        if let Some(bytes) = credit.filter(|_| running) {
            self.queue(&FromAgent::Credit { bytes });
        }
    }

    /// Moves output from the process to the engine as long as both go along, and reports the exit
    /// after the last of it.
    pub(crate) fn pump(&mut self) {
        for _ in 0..ROUNDS {
            let progress = self.has_room() && self.read_output();
            self.finish();
            self.send();
            if !progress || self.has_outgoing() {
                return;
            }
        }
    }

    /// Takes all output that is there, as far as there is credit for it.
    pub(crate) fn pump_all(&mut self) {
        while self.read_some() {}
    }

    /// Returns whether there may be more at once.
    fn read_output(&mut self) -> bool {
        let ended = self
            .process
            .as_ref()
            .is_some_and(|process| process.ended.is_some());
        let before = self.outgoing.len();
        let more = self.read_some();
        // A short read has emptied the stream; the next one would only find that out.
        more && (ended || self.outgoing.len() - before >= OUTGOING_FULL)
    }

    /// Reads each stream once; whether anything was there.
    fn read_some(&mut self) -> bool {
        let mut more = false;
        for output in self
            .process
            .iter_mut()
            .flat_map(|process| &mut process.outputs)
        {
            more |= output.pump(&mut self.outgoing) == Progress::Sent;
        }
        more
    }

    fn finish(&mut self) {
        let Some(process) = &self.process else {
            return;
        };
        let open = process.outputs.iter().any(|output| output.is_open());
        if let Some(ended) = process.ended.filter(|_| !open) {
            let message = match process.failure() {
                Some(failure) => FromAgent::Aborted(failure),
                None => FromAgent::Exited {
                    status: ended.status,
                    oom_killed: ended.oom_killed,
                    at_us: ended.at_us,
                },
            };
            self.process = None;
            self.phase = Phase::Over;
            self.queue(&message);
        }
    }

    /// Sends what the connection takes.
    pub(crate) fn send(&mut self) {
        while self.has_outgoing() {
            let rest = self.outgoing.get(self.sent..).unwrap_or_default();
            match send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.phase = Phase::Closed;
                    return;
                }
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        if self.phase == Phase::Leaving {
            self.phase = Phase::Closed;
        }
    }
}
