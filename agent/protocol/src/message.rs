//! What the two ends say to each other. The order in which they may say it is in `README.md`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::configure::{Adopt, Configure, Limits};
use crate::files::Files;
use crate::network::Network;
use crate::outcome::{ExitStatus, Failure};
use crate::start::{Start, TtySize};
use crate::stats::{Processes, Stats};

/// One of the three streams of a process. A terminal uses [`Stdin`](Stream::Stdin) and
/// [`Stdout`](Stream::Stdout).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// From the engine to the process.
    Stdin,
    /// From the process to the engine.
    Stdout,
    /// From the process to the engine.
    Stderr,
}

impl Stream {
    /// How many bytes of this stream may be under way before the receiver gives more credit.
    #[must_use]
    pub fn window(self) -> u32 {
        match self {
            // Held by the agent in the guest's memory while the process does not read.
            Stream::Stdin => 64 * 1024,
            Stream::Stdout | Stream::Stderr => 256 * 1024,
        }
    }

    pub(crate) fn kind(self) -> u8 {
        match self {
            Stream::Stdin => 1,
            Stream::Stdout => 2,
            Stream::Stderr => 3,
        }
    }

    pub(crate) fn of_kind(kind: u8) -> Option<Self> {
        match kind {
            1 => Some(Stream::Stdin),
            2 => Some(Stream::Stdout),
            3 => Some(Stream::Stderr),
            _ => None,
        }
    }
}

/// One direction of a channel.
pub trait Message: Serialize + DeserializeOwned {
    /// The most bytes that a message in this direction may take.
    const MAX_LEN: usize;

    /// Whether frames of `stream` travel in this direction.
    fn carries(stream: Stream) -> bool;
}

/// From the engine to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Always the first message, in every version: its place and its shape never change.
    Hello {
        /// [`VERSION`](crate::VERSION) of the sender.
        version: u32,
    },
    /// Makes the machine ready for the container. Once per machine, before the first `Start`.
    Configure(Box<Configure>),
    /// Makes a configured machine that was held another container's: all that two clones of it must not share.
    Adopt(Box<Adopt>),
    /// Leaves the machine at rest, so that clones can be made of it: processes are frozen, what they wrote is sent, the agent answers
    /// `Held`, closes this channel, and waits for another one to be its control channel, as long as it takes. On the control channel.
    Hold,
    /// Reads the first of these programs that is there, and what it is linked with, into the page cache, for clones of the machine. They are
    /// absolute paths in the container. There is no answer; a configured machine only, on the control channel.
    Warm(Vec<String>),
    /// Goes on with the process that ran when the machine was held, on this channel; the answer is `Started`. All windows are new.
    Attach,
    /// Starts the process of this channel. Once per channel.
    Start(Box<Start>),
    /// Starts a process of the agent's own in place of one of the container's; see [`Files`].
    Files(Files),
    /// Changes the network of a configured machine; the answer is `Done`.
    Network(Box<Network>),
    /// Changes the limits of a configured machine, all of them; the answer is `Done`.
    Limit(Limits),
    /// Asks what the container uses; the answer is `Stats`.
    Stats,
    /// Asks for the container's processes; the answer is `Processes`.
    Processes,
    /// The engine has taken so many bytes of `Stdout` or `Stderr` off the channel's hands.
    Credit {
        /// Which stream may go on.
        stream: Stream,
        /// How many bytes more.
        bytes: u32,
    },
    /// No more of a stream: end of file for `Stdin` (for a terminal, its end-of-file character);
    /// for the others, the process gets `EPIPE` from now on.
    Close(Stream),
    /// Sends a signal, 1 to 64, to the process.
    Signal(u8),
    /// The terminal's window has a new size.
    Resize(TtySize),
    /// Stops every process, writes everything to disk and powers off. Ends with the connection.
    Shutdown,
}

impl Message for ToAgent {
    // Linux limits arguments and environment together to 2 MiB or so; the rest is files of the
    // identity, and mounts.
    const MAX_LEN: usize = 4 * 1024 * 1024;

    fn carries(stream: Stream) -> bool {
        stream == Stream::Stdin
    }
}

/// From the agent to the engine. `at_us` are microseconds since the guest's kernel started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromAgent {
    /// Always the first message, in every version: its place and its shape never change.
    Hello {
        /// [`VERSION`](crate::VERSION) of the sender.
        version: u32,
    },
    /// The answer to `Configure`, and to `Adopt`.
    Configured {
        /// When the agent's `main` began; in a machine that was held, when the engine came back.
        main_us: u64,
        /// When the agent was connected to the engine.
        ready_us: u64,
        /// When the machine was configured.
        at_us: u64,
    },
    /// The answer to `Start`: the program runs (its `execve` succeeded).
    Started {
        /// The process's id as the guest's kernel counts; inside the container it is 1 for
        /// [`Place::NewContainer`](crate::Place).
        pid: u32,
        /// When it was started.
        at_us: u64,
    },
    /// The answer to `Hold`. Nothing follows but the end of the channel.
    Held,
    /// The answer to `Network` and to `Limit`.
    Done,
    /// The answer to `Stats`.
    Stats(Box<Stats>),
    /// The answer to `Processes`.
    Processes(Processes),
    /// The answer to a request that could not be done. The channel is over, unless it has a process, which goes on.
    Failed(Failure),
    /// The process has taken so many bytes of `Stdin`.
    Credit {
        /// How many bytes more may be sent.
        bytes: u32,
    },
    /// The process has ended and all of its output was sent before this. The channel is over,
    /// except for `Shutdown`.
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// Whether the kernel killed something of the container for want of memory.
        oom_killed: bool,
        /// When it ended.
        at_us: u64,
    },
    /// The process that `Files` started could not do what it was asked to, or not all of it. Its output, as far as there was any, came
    /// before. The channel is over.
    Aborted(Failure),
}

impl Message for FromAgent {
    // A list of processes with their command lines, cut to this.
    const MAX_LEN: usize = 256 * 1024;

    fn carries(stream: Stream) -> bool {
        stream != Stream::Stdin
    }
}
