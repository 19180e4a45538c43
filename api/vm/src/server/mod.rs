//! The server: HTTP over a Unix socket, all connections in one thread.
//!
//! The VMM gives it a listener and gets [`Calls`], which its event loop watches. A request travels there as a [`Call`]; its answer
//! travels back and wakes the server's thread. A connection has one request under way at a time, in order; several connections
//! do not wait for each other. Nothing here blocks but the one `poll`, and no lock is held.
//!
//! `tests/api/vmm.rs` is the other side in a few lines: an event loop, a [`crate::Builder`], and what follows the start.

mod channel;
mod connection;
mod counts;
mod limits;

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use channel::{Bell, Caller, channel};
pub use channel::{Call, Calls, Original};
use connection::Connection;
pub use counts::{RequestCount, RequestCounts, Requests};
pub use limits::Limits;

/// For answers that are under way when the server is told to end.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

/// For new connections when there are no descriptors for them.
const BREATH: Duration = Duration::from_millis(100);

/// A server that is ready to run.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    limits: Limits,
    counts: Arc<RequestCounts>,
    caller: Caller,
    stop: Bell,
    connections: Vec<Connection>,
    /// No connections are accepted until then.
    breath: Option<Instant>,
    /// There is no place for another connection, and from then on they are refused.
    full: Option<Instant>,
}

/// The thread of a server. Dropped, it runs on for as long as its process.
#[derive(Debug)]
pub struct ServerThread {
    thread: JoinHandle<io::Result<()>>,
    stop: Bell,
}

/// What `poll` found.
struct Ready {
    listener: bool,
    stop: bool,
    /// For each connection.
    connections: Vec<PollFlags>,
}

impl Server {
    /// A server on `listener`, and what its requests come out of.
    ///
    /// # Errors
    /// If the host refuses eventfds, or the listener another mode.
    pub fn new(listener: UnixListener, limits: Limits) -> io::Result<(Self, Calls)> {
        listener.set_nonblocking(true)?;
        let (caller, calls) = channel()?;
        let server = Self {
            listener,
            limits,
            counts: Arc::new(RequestCounts::new()),
            caller,
            stop: Bell::new()?,
            connections: Vec::new(),
            breath: None,
            full: None,
        };
        Ok((server, calls))
    }

    /// What was asked for, readable at any time.
    #[must_use]
    pub fn counts(&self) -> Arc<RequestCounts> {
        self.counts.clone()
    }

    /// Runs in a thread of its own, which calls `prepare` first: to give up rights, for example.
    ///
    /// # Errors
    /// If the host refuses a thread.
    pub fn spawn(self, prepare: impl FnOnce() + Send + 'static) -> io::Result<ServerThread> {
        let stop = self.stop.clone();
        let thread = thread::Builder::new().name("api".to_owned()).spawn(|| {
            prepare();
            self.run()
        })?;
        Ok(ServerThread { thread, stop })
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            let ready = self.wait(None)?;
            self.turn(&ready);
            if ready.stop {
                return self.end();
            }
            if ready.listener {
                self.accept();
            }
        }
    }

    /// Sends the answers that are under way, but takes no new connections.
    fn end(mut self) -> io::Result<()> {
        let until = Instant::now() + LAST_MOMENTS;
        while self.connections.iter().any(Connection::owes) && Instant::now() < until {
            let ready = self.wait(Some(until))?;
            self.turn(&ready);
        }
        Ok(())
    }

    /// Waits until something happens, a deadline passes, or the moment `until` has come, in which case only connections and
    /// answers are waited for.
    fn wait(&self, until: Option<Instant>) -> io::Result<Ready> {
        let ending = until.is_some();
        let refuses = self.refuses();
        let deadlines = self.connections.iter().filter_map(Connection::deadline);
        let first = deadlines.chain(until).chain(self.breath);
        let first = first.chain(self.full.filter(|_| !refuses)).min();
        let time = first.map(|first| first.saturating_duration_since(Instant::now()));
        // Cannot fail: it is at most days.
        let time = time.and_then(|time| Timespec::try_from(time).ok());

        let listens = !ending && self.breath.is_none() && (self.full.is_none() || refuses);
        let only_if = |asked| {
            if asked {
                PollFlags::IN
            } else {
                PollFlags::empty()
            }
        };
        let mut waits = vec![
            PollFd::new(self.caller.answered(), PollFlags::IN),
            PollFd::new(&self.stop, only_if(!ending)),
            PollFd::new(&self.listener, only_if(listens)),
        ];
        let connections = self.connections.iter();
        waits.extend(connections.map(|c| PollFd::new(c, c.interest())));
        match poll(&mut waits, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let happened = |at: usize| !waits[at].revents().is_empty();
        Ok(Ready {
            stop: happened(1),
            listener: happened(2) && listens,
            connections: waits[3..].iter().map(PollFd::revents).collect(),
        })
    }

    /// Lets every connection do what it can.
    fn turn(&mut self, ready: &Ready) {
        let caller = &mut self.caller;
        for (connection, events) in self.connections.iter_mut().zip(&ready.connections) {
            if !events.is_empty() {
                connection.ready(*events, caller);
            }
        }
        caller.answered().clear();
        while let Some((number, answer)) = caller.answer() {
            // Who asked may be gone by now.
            let mut connections = self.connections.iter_mut();
            if let Some(connection) = connections.find(|c| c.waits_for(number)) {
                connection.answer(&answer, caller);
            }
        }
        let now = Instant::now();
        for connection in &mut self.connections {
            if connection
                .deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                connection.expire();
            }
        }
        self.connections
            .retain(|connection| !connection.is_closed());
        self.breath = self.breath.filter(|breath| *breath > now);
        self.full = match self.has_place() {
            true => None,
            false => self
                .full
                .or_else(|| now.checked_add(self.limits.place_time)),
        };
    }

    fn accept(&mut self) {
        // As many as are likely to come at once; the others in the next turn.
        for _ in 0..self.limits.max_connections.max(1) {
            if !self.has_place() && !self.refuses() {
                // Perhaps there is one after the next turn, or a later one.
                return;
            }
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => {
                    let passing = [ErrorKind::WouldBlock, ErrorKind::Interrupted];
                    if !passing.contains(&error.kind()) {
                        self.breath = Some(Instant::now() + BREATH);
                    }
                    return;
                }
            };
            let Ok(mut connection) = Connection::new(stream, self.limits, self.counts.clone())
            else {
                continue;
            };
            if self.make_place() {
                self.connections.push(connection);
            } else {
                connection.refuse();
            }
        }
    }

    /// Whether there has been no place for so long that connections are refused.
    fn refuses(&self) -> bool {
        self.full.is_some_and(|full| full <= Instant::now())
    }

    /// Whether one more connection can be had.
    fn has_place(&self) -> bool {
        self.connections.len() < self.limits.max_connections
            || self.connections.iter().any(Connection::is_idle)
    }

    /// Makes sure that one more connection can be had, for which an idle one may have to go.
    fn make_place(&mut self) -> bool {
        if self.connections.len() < self.limits.max_connections {
            return true;
        }
        let idle = self.connections.iter().enumerate();
        let idle = idle.filter(|(_, connection)| connection.is_idle());
        match idle.min_by_key(|(_, connection)| connection.active) {
            Some((index, _)) => {
                self.connections.swap_remove(index);
                true
            }
            None => false,
        }
    }
}

impl ServerThread {
    /// Sends the answers that are under way, for at most a second, closes all connections and ends the thread.
    ///
    /// # Errors
    /// What ended the thread before: the host did not let it wait.
    pub fn stop(self) -> io::Result<()> {
        self.stop.ring();
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("the API's thread panicked")))
    }
}
