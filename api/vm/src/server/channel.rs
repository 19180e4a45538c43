//! Requests on their way from the server's thread to the VMM's event loop, and answers on their way back.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use rustix::event::{EventfdFlags, eventfd};

use crate::fault::Fault;
use crate::reply::Reply;
use crate::request::{Method, Request};

/// Something to wait for with `poll`: readable after it was rung, until it is cleared.
#[derive(Debug, Clone)]
pub(super) struct Bell(Arc<OwnedFd>);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        Ok(Self(Arc::new(eventfd(0, flags)?)))
    }

    pub(super) fn ring(&self) {
        // It fails only when it was rung 2^64 - 2 times without being cleared, and is readable then.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        // It fails only when it was not rung.
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The number of a call, by which its answer finds back.
pub(super) type CallNumber = u64;

type Answer = (CallNumber, Result<Reply, Fault>);

/// The server's end.
#[derive(Debug)]
pub(super) struct Caller {
    calls: Sender<Call>,
    called: Bell,
    answers: Receiver<Answer>,
    answer_to: Sender<Answer>,
    answered: Bell,
    next: CallNumber,
}

/// The VMM's end: a descriptor for its event loop, readable while there are calls.
///
/// When it is dropped, requests are answered with a failure.
#[derive(Debug)]
pub struct Calls {
    calls: Receiver<Call>,
    called: Bell,
}

/// A request that waits for its answer. Dropped without one, it is answered with a failure.
#[derive(Debug)]
pub struct Call {
    request: Request,
    original: Original,
    way_back: Option<WayBack>,
}

/// A request as it came, for whoever hands it on to another process that reads it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// The method.
    pub method: Method,
    /// The path, as the client wrote it.
    pub path: String,
    /// The body; empty if there was none.
    pub body: Vec<u8>,
}

#[derive(Debug)]
struct WayBack {
    number: CallNumber,
    answers: Sender<Answer>,
    answered: Bell,
}

/// Both ends.
pub(super) fn channel() -> io::Result<(Caller, Calls)> {
    let (calls, receiver) = mpsc::channel();
    let (answer_to, answers) = mpsc::channel();
    let called = Bell::new()?;
    let caller = Caller {
        calls,
        called: called.clone(),
        answers,
        answer_to,
        answered: Bell::new()?,
        next: 0,
    };
    let calls = Calls {
        calls: receiver,
        called,
    };
    Ok((caller, calls))
}

impl Caller {
    /// Sends a request to the VMM.
    pub(super) fn call(&mut self, request: Request, original: Original) -> CallNumber {
        let number = self.next;
        self.next += 1;
        let way_back = WayBack {
            number,
            answers: self.answer_to.clone(),
            answered: self.answered.clone(),
        };
        // Where nobody takes calls any more, the call is dropped, and so answered.
        let _ = self.calls.send(Call {
            request,
            original,
            way_back: Some(way_back),
        });
        self.called.ring();
        number
    }

    /// What becomes readable when there are answers.
    pub(super) fn answered(&self) -> &Bell {
        &self.answered
    }

    /// The next answer, if there is one.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

impl Calls {
    /// The next call, if there is one. After `None` the descriptor is readable again with the next call.
    #[must_use]
    pub fn next_call(&self) -> Option<Call> {
        if let Ok(call) = self.calls.try_recv() {
            return Some(call);
        }
        // A call may have come before the clearing, which would then not be rung for again.
        self.called.clear();
        self.calls.try_recv().ok()
    }
}

impl AsFd for Calls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.called.as_fd()
    }
}

impl AsRawFd for Calls {
    fn as_raw_fd(&self) -> RawFd {
        self.called.0.as_raw_fd()
    }
}

impl Call {
    /// What is asked.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The same as it came.
    #[must_use]
    pub fn original(&self) -> &Original {
        &self.original
    }

    /// Answers.
    pub fn answer(mut self, answer: Result<Reply, Fault>) {
        self.send(answer);
    }

    fn send(&mut self, answer: Result<Reply, Fault>) {
        if let Some(back) = self.way_back.take() {
            // It fails only when the server has ended, and its clients with it.
            let _ = back.answers.send((back.number, answer));
            back.answered.ring();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.send(Err(Fault::internal(
            "The microVM ended before it answered.",
        )));
    }
}
