//! One client: its bytes in, its requests one after the other, its answers out.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::net::{RecvFlags, recv};

use super::channel::{CallNumber, Caller, Original};
use super::{Limits, RequestCounts};
use crate::fault::{Fault, FaultStatus};
use crate::http::{CONTINUE, Event, HttpRequest, Parser, Response};
use crate::reply::Reply;
use crate::request::{Method, Request, route};

/// What is read at a time.
const READ_SIZE: usize = 8 << 10;

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    parser: Parser,
    state: State,
    /// The client has said all that it will ever say.
    end_of_input: bool,
    /// Answers that are not sent yet.
    out: Vec<u8>,
    /// Until when the state may last; `None` for as long as it likes.
    deadline: Option<Instant>,
    /// When it last had something to do.
    pub(super) active: Instant,
    limits: Limits,
    counts: Arc<RequestCounts>,
}

/// What a connection waits for. The `deadline` belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// For a request, or the rest of one.
    Reading,
    /// For the VMM's answer.
    Waiting(Pending),
    /// For the client to take an answer; `close` follows.
    Writing { close: bool },
    /// For the client to stop talking, so that it does not miss the last answer.
    Lingering,
    /// For nothing: it is over.
    Closed,
}

/// A request that the VMM has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pending {
    number: CallNumber,
    deprecated: bool,
    keep_alive: bool,
    /// In the table of routes.
    row: Option<usize>,
}

impl Connection {
    pub(super) fn new(
        stream: UnixStream,
        limits: Limits,
        counts: Arc<RequestCounts>,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            parser: Parser::new(limits.max_head, limits.max_payload),
            state: State::Reading,
            end_of_input: false,
            out: Vec::new(),
            deadline: None,
            active: Instant::now(),
            limits,
            counts,
        })
    }

    /// What is to be waited for. Nothing while the VMM has a request: the next one is read when that is answered.
    pub(super) fn interest(&self) -> PollFlags {
        match self.state {
            State::Reading | State::Lingering => PollFlags::IN,
            State::Writing { .. } => PollFlags::OUT,
            State::Waiting(_) | State::Closed => PollFlags::empty(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Between two requests for some time now, with nothing more to read, so that it can be closed without harm.
    pub(super) fn is_idle(&self) -> bool {
        let recent = self.active.elapsed() < self.limits.place_time;
        if recent || self.state != State::Reading || self.parser.in_request() {
            return false;
        }
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        !matches!(recv(&self.stream, &mut [0_u8; 1], flags), Ok((1, _)))
    }

    /// The VMM has a request of it, or the client has not yet taken an answer.
    pub(super) fn owes(&self) -> bool {
        matches!(self.state, State::Waiting(_) | State::Writing { .. })
    }

    pub(super) fn waits_for(&self, number: CallNumber) -> bool {
        matches!(self.state, State::Waiting(pending) if pending.number == number)
    }

    /// Something happened that was waited for, or the client is gone.
    pub(super) fn ready(&mut self, events: PollFlags, caller: &mut Caller) {
        self.active = Instant::now();
        let gone = events.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        match self.state {
            State::Reading => self.read(caller),
            State::Writing { .. } => {
                self.write();
                self.advance(caller);
            }
            State::Lingering => self.linger(),
            State::Waiting(_) if gone => self.state = State::Closed,
            State::Waiting(_) | State::Closed => {}
        }
    }

    /// The time for what it waits for is over.
    pub(super) fn expire(&mut self) {
        match self.state {
            State::Reading => {
                let time = self.limits.request_time;
                let fault = Fault::new(
                    FaultStatus::RequestTimeout,
                    format!("The request did not arrive within {time:?}."),
                );
                self.respond_and_close(fault);
            }
            State::Waiting(pending) => {
                let time = self.limits.answer_time;
                // Its answer, if it comes, is no longer waited for; the next one would be taken for it.
                let fault = Fault::internal(format!("The microVM did not answer within {time:?}."));
                self.counts.answered(pending.row, true);
                self.respond_and_close(fault);
            }
            State::Writing { .. } | State::Lingering | State::Closed => self.state = State::Closed,
        }
    }

    /// The VMM has answered.
    pub(super) fn answer(&mut self, answer: &Result<Reply, Fault>, caller: &mut Caller) {
        let State::Waiting(pending) = self.state else {
            return;
        };
        self.counts.answered(pending.row, answer.is_err());
        let mut response = Response::new(answer);
        response.deprecated = pending.deprecated;
        response.keep_alive = pending.keep_alive;
        self.respond(&response);
        self.advance(caller);
    }

    /// Answers before anything was asked: there are too many connections.
    pub(super) fn refuse(&mut self) {
        self.respond_and_close(Fault::new(
            FaultStatus::Unavailable,
            "Too many open connections.",
        ));
    }

    fn read(&mut self, caller: &mut Caller) {
        let mut buffer = [0; READ_SIZE];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.end_of_input = true,
            Ok(length) => self.parser.feed(&buffer[..length]),
            Err(error) if is_passing(&error) => return,
            Err(_) => {
                self.state = State::Closed;
                return;
            }
        }
        self.advance(caller);
    }

    /// Goes on to the next request, as long as there is one and the last one is answered.
    fn advance(&mut self, caller: &mut Caller) {
        while self.state == State::Reading {
            match self.parser.next_event() {
                Event::Request(request) => self.request(request, caller),
                Event::Continue => {
                    self.out.extend_from_slice(CONTINUE);
                    self.write_some();
                    self.set_deadline();
                    if self.out.is_empty() || self.state == State::Closed {
                        return;
                    }
                    // A client that takes not even this is none.
                    self.state = State::Closed;
                }
                Event::Fault(fault) => {
                    self.counts.answered(None, true);
                    self.respond_and_close(fault);
                }
                Event::Incomplete if self.end_of_input => self.state = State::Closed,
                Event::Incomplete => return self.set_deadline(),
            }
        }
    }

    /// A request has as long as it takes from here, unless it has begun already.
    fn set_deadline(&mut self) {
        self.deadline = match (self.parser.in_request(), self.deadline) {
            (false, _) => None,
            (true, Some(deadline)) => Some(deadline),
            (true, None) => Instant::now().checked_add(self.limits.request_time),
        };
    }

    fn request(&mut self, request: HttpRequest, caller: &mut Caller) {
        let Some(method) = Method::named(&request.method) else {
            self.counts.answered(None, true);
            let fault = Fault::bad_request("Invalid HTTP Method: Unsupported HTTP method.");
            let mut response = Response::new(&Err(fault));
            // What follows CONNECT is no HTTP (RFC 9110, 9.3.6).
            response.keep_alive = request.keep_alive && request.method != "CONNECT";
            response.head_only = request.method == "HEAD";
            return self.respond(&response);
        };
        let row = route::row(method, &request.path);
        match Request::parse(method, &request.path, &request.body) {
            Ok(parsed) => {
                if parsed.deprecated {
                    self.counts.deprecated_used();
                }
                let original = Original {
                    method,
                    path: request.path,
                    body: request.body,
                };
                self.state = State::Waiting(Pending {
                    number: caller.call(parsed.request, original),
                    deprecated: parsed.deprecated,
                    keep_alive: request.keep_alive,
                    row,
                });
                self.deadline = Instant::now().checked_add(self.limits.answer_time);
            }
            Err(fault) => {
                self.counts.answered(row, true);
                let mut response = Response::new(&Err(fault));
                response.keep_alive = request.keep_alive;
                self.respond(&response);
            }
        }
    }

    fn respond_and_close(&mut self, fault: Fault) {
        let mut response = Response::new(&Err(fault));
        response.keep_alive = false;
        self.respond(&response);
    }

    fn respond(&mut self, response: &Response) {
        response.write(&mut self.out);
        let close = !response.keep_alive;
        self.state = State::Writing { close };
        self.deadline = Instant::now().checked_add(self.limits.write_time);
        self.write();
    }

    /// Sends what it can of the answers, and goes on when that was all.
    fn write(&mut self) {
        self.write_some();
        if let State::Writing { close } = self.state
            && self.out.is_empty()
        {
            self.deadline = None;
            self.state = match close {
                false => State::Reading,
                true if self.end_of_input => State::Closed,
                true => {
                    let _ = self.stream.shutdown(Shutdown::Write);
                    self.deadline = Instant::now().checked_add(self.limits.write_time);
                    State::Lingering
                }
            };
        }
    }

    fn write_some(&mut self) {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(length) if length > 0 => {
                    self.out.drain(..length);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => {
                    self.state = State::Closed;
                    return;
                }
            }
        }
    }

    /// Throws away what the client still says.
    fn linger(&mut self) {
        match self.stream.read(&mut [0; READ_SIZE]) {
            Ok(0) => self.state = State::Closed,
            Err(error) if !is_passing(&error) => self.state = State::Closed,
            _ => {}
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
