//! A small engine for tests and tools: one channel to an agent, over any stream.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hull_agent_protocol::{
    Capabilities, CapabilitySet, Configure, EngineEnd, Event, ExitStatus, Failure, Identity, Place,
    Processes, Root, Start, Stats, Stdio, Stream,
};

/// One channel.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) end: EngineEnd,
    socket: UnixStream,
    /// Output is consumed as it comes, unless a test wants to be slow.
    pub(crate) eager: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) unconsumed: usize,
}

/// How a channel ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Exited(ExitStatus),
    Failed(Failure),
    /// The agent closed the connection.
    Gone,
}

/// What happened, without the data.
#[derive(Debug, PartialEq)]
pub(crate) enum Note {
    Ready,
    Configured {
        main_us: u64,
        ready_us: u64,
        at_us: u64,
    },
    Started(u32, u64),
    Output,
    StdinRoom,
    /// The machine is at rest.
    Held,
    /// What was asked for is done.
    Done,
    Stats(Box<Stats>),
    Processes(Processes),
    Over(Outcome),
}

impl Session {
    /// A channel over `socket`; nothing in it waits longer than `patience`.
    pub(crate) fn new(socket: UnixStream, patience: Duration) -> Self {
        socket
            .set_read_timeout(Some(patience))
            .expect("a timeout can be set");
        Self {
            end: EngineEnd::new(),
            socket,
            eager: true,
            stdout: Vec::new(),
            stderr: Vec::new(),
            unconsumed: 0,
        }
    }

    /// Sends what is queued.
    pub(crate) fn flush(&mut self) {
        while !self.end.outgoing().is_empty() {
            match self.socket.write(self.end.outgoing()) {
                Ok(count) => self.end.sent(count),
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return,
                Err(error) => panic!("cannot send to the agent: {error}"),
            }
        }
    }

    /// Waits for the next thing to happen.
    pub(crate) fn next(&mut self) -> Note {
        loop {
            self.flush();
            if let Some(note) = self.event() {
                return note;
            }
            let mut buffer = vec![0; 64 * 1024];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Note::Over(Outcome::Gone),
                Ok(count) => self.end.received(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Note::Over(Outcome::Gone);
                }
                Err(error) => panic!("nothing comes from the agent: {error}"),
            }
        }
    }

    fn event(&mut self) -> Option<Note> {
        let (stream, count) = match self.end.event().expect("the agent keeps to the protocol")? {
            Event::Ready => return Some(Note::Ready),
            Event::Configured {
                main_us,
                ready_us,
                at_us,
            } => {
                return Some(Note::Configured {
                    main_us,
                    ready_us,
                    at_us,
                });
            }
            Event::Started { pid, at_us } => return Some(Note::Started(pid, at_us)),
            Event::StdinRoom => return Some(Note::StdinRoom),
            Event::Held => return Some(Note::Held),
            Event::Done => return Some(Note::Done),
            Event::Stats(stats) => return Some(Note::Stats(stats)),
            Event::Processes(processes) => return Some(Note::Processes(processes)),
            Event::Failed(failure) => return Some(Note::Over(Outcome::Failed(failure))),
            Event::Exited { status, .. } => return Some(Note::Over(Outcome::Exited(status))),
            Event::Output(stream, data) => {
                let all = match stream {
                    Stream::Stderr => &mut self.stderr,
                    _ => &mut self.stdout,
                };
                all.extend_from_slice(data);
                (stream, data.len())
            }
        };
        if self.eager {
            self.end.consumed(stream, count);
        } else {
            self.unconsumed += count;
        }
        Some(Note::Output)
    }

    /// Waits until the channel is over.
    pub(crate) fn outcome(&mut self) -> Outcome {
        loop {
            if let Note::Over(outcome) = self.next() {
                return outcome;
            }
        }
    }

    /// Waits until the process runs.
    pub(crate) fn started(&mut self) -> u32 {
        loop {
            match self.next() {
                Note::Started(pid, _) => return pid,
                Note::Over(outcome) => panic!("instead of starting: {outcome:?}"),
                _ => {}
            }
        }
    }

    /// Waits for the answer to a request.
    pub(crate) fn answer(&mut self) -> Note {
        loop {
            match self.next() {
                Note::Ready | Note::Output | Note::StdinRoom => {}
                note => return note,
            }
        }
    }

    /// Waits until standard output holds `text`.
    pub(crate) fn stdout_with(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.stdout).contains(text) {
            let note = self.next();
            assert!(
                !matches!(note, Note::Over(_)),
                "{note:?} before {text:?}: {self:?}"
            );
        }
    }
}

/// A machine with `image` as root.
pub(crate) fn configure(image: &str, writable: Option<&str>) -> Configure {
    Configure {
        identity: Identity {
            hostname: "box".into(),
            hosts: "127.0.0.1 localhost\n".into(),
            resolv_conf: "nameserver 10.0.0.1\n".into(),
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            ..Identity::default()
        },
        root: Root {
            image: image.into(),
            writable: writable.map(str::to_owned),
            read_only: false,
        },
        ..Configure::default()
    }
}

/// A command as `docker run -i` would start it.
pub(crate) fn start(argv: &[&str]) -> Start {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    Start {
        place: Place::NewContainer { init: false },
        argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
        env: vec![path.into()],
        user: String::new(),
        groups: Vec::new(),
        cwd: String::new(),
        stdio: Stdio::Pipes { stdin: true },
        rlimits: Vec::new(),
        capabilities: Capabilities::of_container(CapabilitySet::DOCKER_DEFAULT),
        no_new_privileges: false,
        oom_score_adj: 0,
    }
}
