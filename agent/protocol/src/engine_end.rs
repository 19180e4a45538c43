//! The engine's end of a channel, without I/O: bytes in, events out. It keeps the order of the
//! protocol and the credit, so that a hostile agent can neither confuse nor flood the engine.

use std::collections::VecDeque;

use crate::VERSION;
use crate::configure::{Adopt, Configure, Limits};
use crate::files::Files;
use crate::frame::{Frame, FrameError, MAX_DATA, decode, encode, encode_data};
use crate::message::{FromAgent, Stream, ToAgent};
use crate::network::Network;
use crate::outcome::{ExitStatus, Failure};
use crate::start::{Start, TtySize};
use crate::stats::{Processes, Stats};
use crate::window::{Overrun, ReceiveWindow, SendWindow};

/// One channel, seen from the engine.
#[derive(Debug)]
pub struct EngineEnd {
    incoming: Vec<u8>,
    /// How much of `incoming` the last event took.
    done: usize,
    outgoing: Vec<u8>,
    state: State,
    configure_pending: bool,
    hold_pending: bool,
    start_pending: bool,
    /// Answers that are due, in their order.
    asked: VecDeque<Answer>,
    stdin: SendWindow,
    stdout: ReceiveWindow,
    stderr: ReceiveWindow,
}

/// What is the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    Stats,
    Processes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but the agent's `Hello` may come.
    Greeting,
    /// Greeted; no process runs.
    Idle,
    /// `Started` has come.
    Running,
    /// `Exited` or `Failed` has come.
    Over,
}

/// What happened in the guest.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The agent is there and speaks this version.
    Ready,
    /// The machine is configured, or is another container's. Times are microseconds since the guest's kernel started.
    Configured {
        /// When the agent's `main` began.
        main_us: u64,
        /// When the agent was connected to the engine.
        ready_us: u64,
        /// When the machine was configured.
        at_us: u64,
    },
    /// The program runs.
    Started {
        /// Its id in the guest.
        pid: u32,
        /// When, in microseconds since the guest's kernel started.
        at_us: u64,
    },
    /// The machine is at rest, and the agent waits for another channel. The last event of a channel.
    Held,
    /// The network or the limits are as they were asked for.
    Done,
    /// What the container uses.
    Stats(Box<Stats>),
    /// Its processes.
    Processes(Processes),
    /// A request failed, or what was to be done with files. The last event of a channel, unless a process of the container runs on it,
    /// which goes on: [`EngineEnd::is_over`] tells.
    Failed(Failure),
    /// A piece of `Stdout` or `Stderr`. Call [`EngineEnd::consumed`] when it was passed on.
    Output(Stream, &'a [u8]),
    /// There is room for standard input again.
    StdinRoom,
    /// The process ended; all of its output came before. The last event of a channel.
    Exited {
        /// How.
        status: ExitStatus,
        /// Whether the kernel killed something of the container for want of memory.
        oom_killed: bool,
        /// When, in microseconds since the guest's kernel started.
        at_us: u64,
    },
}

/// The agent broke the protocol; the machine is not to be trusted any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// What it sent is no frame.
    #[error("the agent in the guest sent bytes that are no frame")]
    Frame(#[from] FrameError),
    /// It speaks another version.
    #[error(
        "the agent in the guest speaks version {0} of the protocol, the engine version {VERSION}: rebuild the guest's initramfs"
    )]
    Version(u32),
    /// It sent more than it may, or gave credit that it never used.
    #[error("the agent in the guest did not keep to the window of {stream:?}")]
    Window {
        /// The stream.
        stream: Stream,
        /// What it did.
        source: Overrun,
    },
    /// It said something that makes no sense now.
    #[error("the agent in the guest sent {what} while the channel was {state}")]
    Order {
        /// What it sent.
        what: &'static str,
        /// The state of the channel.
        state: &'static str,
    },
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Greeting => "not yet greeted",
            State::Idle => "without a process",
            State::Running => "running a process",
            State::Over => "over",
        }
    }
}

impl Default for EngineEnd {
    fn default() -> Self {
        Self::new()
    }
}

impl EngineEnd {
    /// A new channel, with the engine's `Hello` waiting to be sent.
    #[must_use]
    pub fn new() -> Self {
        let mut end = Self {
            incoming: Vec::new(),
            done: 0,
            outgoing: Vec::new(),
            state: State::Greeting,
            configure_pending: false,
            hold_pending: false,
            start_pending: false,
            asked: VecDeque::new(),
            stdin: SendWindow::new(Stream::Stdin.window()),
            stdout: ReceiveWindow::new(Stream::Stdout.window()),
            stderr: ReceiveWindow::new(Stream::Stderr.window()),
        };
        end.queue_small(&ToAgent::Hello { version: VERSION });
        end
    }

    /// Asks for the machine to be configured. Need not wait for [`Event::Ready`].
    ///
    /// # Errors
    /// The request is larger than a message may be.
    pub fn configure(&mut self, configure: Configure) -> Result<(), FrameError> {
        encode(&ToAgent::Configure(Box::new(configure)), &mut self.outgoing)?;
        self.configure_pending = true;
        Ok(())
    }

    /// Asks for a machine that was held to become a container's; the answer is [`Event::Configured`]. Need not wait for
    /// [`Event::Ready`].
    ///
    /// # Errors
    /// The request is larger than a message may be.
    pub fn adopt(&mut self, adopt: Adopt) -> Result<(), FrameError> {
        encode(&ToAgent::Adopt(Box::new(adopt)), &mut self.outgoing)?;
        self.configure_pending = true;
        Ok(())
    }

    /// Asks for the machine to be left at rest, with or without a process. Need not wait for [`Event::Ready`] or
    /// [`Event::Configured`].
    pub fn hold(&mut self) {
        self.queue_small(&ToAgent::Hold);
        self.hold_pending = true;
    }

    /// Asks for a program to be read into the guest's page cache.
    ///
    /// # Errors
    /// The paths are longer than a message may be.
    pub fn warm(&mut self, programs: Vec<String>) -> Result<(), FrameError> {
        encode(&ToAgent::Warm(programs), &mut self.outgoing)
    }

    /// Asks for the process that ran when the machine was held; the answer is [`Event::Started`].
    pub fn attach(&mut self) {
        self.queue_small(&ToAgent::Attach);
        self.start_pending = true;
    }

    /// Asks for the process to be started. Need not wait for [`Event::Configured`].
    ///
    /// # Errors
    /// The request is larger than a message may be: arguments and environment are too long.
    pub fn start(&mut self, start: Start) -> Result<(), FrameError> {
        encode(&ToAgent::Start(Box::new(start)), &mut self.outgoing)?;
        self.start_pending = true;
        Ok(())
    }

    /// Asks for something to be done with files, in place of a process; the answer is [`Event::Started`], and its end [`Event::Exited`]
    /// or [`Event::Failed`].
    ///
    /// # Errors
    /// A path is longer than a message may be.
    pub fn files(&mut self, files: Files) -> Result<(), FrameError> {
        encode(&ToAgent::Files(files), &mut self.outgoing)?;
        self.start_pending = true;
        Ok(())
    }

    /// Asks for another network; the answer is [`Event::Done`].
    ///
    /// # Errors
    /// The request is larger than a message may be.
    pub fn network(&mut self, network: Network) -> Result<(), FrameError> {
        encode(&ToAgent::Network(Box::new(network)), &mut self.outgoing)?;
        self.asked.push_back(Answer::Done);
        Ok(())
    }

    /// Asks for other limits; the answer is [`Event::Done`].
    pub fn limit(&mut self, limits: Limits) {
        self.queue_small(&ToAgent::Limit(limits));
        self.asked.push_back(Answer::Done);
    }

    /// Asks what the container uses; the answer is [`Event::Stats`].
    pub fn stats(&mut self) {
        self.queue_small(&ToAgent::Stats);
        self.asked.push_back(Answer::Stats);
    }

    /// Asks for the container's processes; the answer is [`Event::Processes`].
    pub fn processes(&mut self) {
        self.queue_small(&ToAgent::Processes);
        self.asked.push_back(Answer::Processes);
    }

    /// Whether nothing more can be asked for on this channel.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Queues as much of `data` as standard input has room for, and says how much that was.
    #[must_use]
    pub fn stdin(&mut self, data: &[u8]) -> usize {
        let count = data.len().min(self.stdin_room());
        let (now, _) = data.split_at(count);
        encode_data(Stream::Stdin, now, &mut self.outgoing);
        self.stdin.sent(count);
        count
    }

    /// How many bytes of standard input may be sent now; [`Event::StdinRoom`] says when that grows.
    #[must_use]
    pub fn stdin_room(&self) -> usize {
        self.stdin.available()
    }

    /// Closes a stream: end of file for `Stdin`; `EPIPE` for the writer of the others.
    pub fn close(&mut self, stream: Stream) {
        self.queue_small(&ToAgent::Close(stream));
    }

    /// Sends a signal, 1 to 64, to the process.
    pub fn signal(&mut self, signal: u8) {
        self.queue_small(&ToAgent::Signal(signal));
    }

    /// Tells the terminal its new size.
    pub fn resize(&mut self, size: TtySize) {
        self.queue_small(&ToAgent::Resize(size));
    }

    /// Asks the machine to stop everything and power off.
    pub fn shutdown(&mut self) {
        self.queue_small(&ToAgent::Shutdown);
    }

    /// `bytes` of an [`Event::Output`] were passed on: lets the process write more.
    pub fn consumed(&mut self, stream: Stream, bytes: usize) {
        let due = self
            .receive_window(stream)
            .and_then(|window| window.consumed(bytes));
        if let Some(bytes) = due {
            self.queue_small(&ToAgent::Credit { stream, bytes });
        }
    }

    /// Bytes to send to the agent.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// The first `count` bytes of [`outgoing`](Self::outgoing) were sent.
    pub fn sent(&mut self, count: usize) {
        self.outgoing.drain(..count.min(self.outgoing.len()));
    }

    /// Takes bytes that came from the agent; [`event`](Self::event) says what they mean.
    pub fn received(&mut self, bytes: &[u8]) {
        self.incoming.drain(..std::mem::take(&mut self.done));
        self.incoming.extend_from_slice(bytes);
    }

    /// The next event, or `None` until more bytes come. Call it until it says `None`.
    ///
    /// # Errors
    /// The agent broke the protocol: give the machine up.
    pub fn event(&mut self) -> Result<Option<Event<'_>>, Violation> {
        let input = self.incoming.get(self.done..).unwrap_or_default();
        let Some(received) = decode::<FromAgent>(input)? else {
            return Ok(None);
        };
        // Offsets, so that the borrow of `incoming` ends before the state changes.
        let end = self.done + received.consumed;
        match received.frame {
            Frame::Data(stream, data) => {
                let begin = end - data.len();
                debug_assert!(data.len() <= MAX_DATA);
                self.output(stream, end - begin)?;
                self.done = end;
                let data = self.incoming.get(begin..end).unwrap_or_default();
                Ok(Some(Event::Output(stream, data)))
            }
            Frame::Message(message) => {
                self.done = end;
                self.message(message).map(Some)
            }
        }
    }

    fn output(&mut self, stream: Stream, length: usize) -> Result<(), Violation> {
        self.expect(State::Running, true, "output")?;
        match self.receive_window(stream) {
            Some(window) => window
                .received(length)
                .map_err(|source| Violation::Window { stream, source }),
            None => Ok(()),
        }
    }

    fn message(&mut self, message: FromAgent) -> Result<Event<'static>, Violation> {
        match message {
            FromAgent::Hello { version } => {
                self.expect(State::Greeting, true, "Hello")?;
                if version != VERSION {
                    return Err(Violation::Version(version));
                }
                self.state = State::Idle;
                Ok(Event::Ready)
            }
            FromAgent::Configured {
                main_us,
                ready_us,
                at_us,
            } => {
                self.expect(State::Idle, self.configure_pending, "Configured")?;
                self.configure_pending = false;
                Ok(Event::Configured {
                    main_us,
                    ready_us,
                    at_us,
                })
            }
            FromAgent::Held => {
                let asked = self.hold_pending && !self.configure_pending;
                let running = self.state == State::Running;
                self.expect(
                    if running { State::Running } else { State::Idle },
                    asked,
                    "Held",
                )?;
                self.hold_pending = false;
                self.state = State::Over;
                Ok(Event::Held)
            }
            FromAgent::Started { pid, at_us } => {
                let asked = self.start_pending && !self.configure_pending;
                self.expect(State::Idle, asked, "Started")?;
                self.start_pending = false;
                self.state = State::Running;
                Ok(Event::Started { pid, at_us })
            }
            FromAgent::Done => self.answer(Answer::Done, "Done", Event::Done),
            FromAgent::Stats(stats) => self.answer(Answer::Stats, "Stats", Event::Stats(stats)),
            FromAgent::Processes(processes) => {
                let event = Event::Processes(processes);
                self.answer(Answer::Processes, "Processes", event)
            }
            FromAgent::Failed(failure) => {
                let running = self.state == State::Running;
                let answers = self.asked.pop_front().is_some();
                let asked = answers
                    || self.hold_pending
                    || !running && (self.start_pending || self.configure_pending);
                if !answers {
                    self.hold_pending = false;
                }
                self.expect(
                    if running { State::Running } else { State::Idle },
                    asked,
                    "Failed",
                )?;
                if !running {
                    self.state = State::Over;
                }
                Ok(Event::Failed(failure))
            }
            FromAgent::Aborted(failure) => {
                self.expect(State::Running, true, "Aborted")?;
                self.state = State::Over;
                Ok(Event::Failed(failure))
            }
            FromAgent::Credit { bytes } => {
                self.expect(State::Running, true, "Credit")?;
                let stream = Stream::Stdin;
                self.stdin
                    .credit(bytes)
                    .map_err(|source| Violation::Window { stream, source })?;
                Ok(Event::StdinRoom)
            }
            FromAgent::Exited {
                status,
                oom_killed,
                at_us,
            } => {
                self.expect(State::Running, true, "Exited")?;
                self.state = State::Over;
                Ok(Event::Exited {
                    status,
                    oom_killed,
                    at_us,
                })
            }
        }
    }

    /// An answer, which comes in its turn whether a process runs or not.
    fn answer(
        &mut self,
        answer: Answer,
        what: &'static str,
        event: Event<'static>,
    ) -> Result<Event<'static>, Violation> {
        let running = self.state == State::Running;
        let asked = self.asked.pop_front() == Some(answer) && !self.configure_pending;
        self.expect(
            if running { State::Running } else { State::Idle },
            asked,
            what,
        )?;
        Ok(event)
    }

    fn expect(&self, state: State, asked: bool, what: &'static str) -> Result<(), Violation> {
        if self.state == state && asked {
            return Ok(());
        }
        Err(Violation::Order {
            what,
            state: self.state.name(),
        })
    }

    fn receive_window(&mut self, stream: Stream) -> Option<&mut ReceiveWindow> {
        match stream {
            Stream::Stdin => None,
            Stream::Stdout => Some(&mut self.stdout),
            Stream::Stderr => Some(&mut self.stderr),
        }
    }

    /// Queues a message that is far below the limit, so that encoding it cannot fail.
    fn queue_small(&mut self, message: &ToAgent) {
        let encoded = encode(message, &mut self.outgoing);
        debug_assert!(encoded.is_ok());
    }
}

#[cfg(test)]
mod tests;
