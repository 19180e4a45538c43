//! From the bytes of a connection to its requests, however they are cut.

use super::chunked::{Chunked, too_large};
use super::head::{BodyLength, Head};
use crate::fault::Fault;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Any word.
    pub method: String,
    /// As it was sent.
    pub path: String,
    /// Empty if there is none.
    pub body: Vec<u8>,
    /// The connection stays for another request.
    pub keep_alive: bool,
}

/// What came of the bytes so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing: more must come.
    Incomplete,
    /// The client waits to be told to send its body: answer [`super::CONTINUE`].
    Continue,
    /// A request.
    Request(HttpRequest),
    /// This is no request, and what follows cannot be known: answer and close.
    Fault(Fault),
}

/// Takes the bytes of one connection.
#[derive(Debug)]
pub struct Parser {
    input: Vec<u8>,
    state: State,
    max_head: usize,
    max_body: usize,
}

#[derive(Debug)]
enum State {
    Head,
    Body {
        head: Head,
        body: Vec<u8>,
        chunks: Chunked,
    },
    /// Nothing more is understood.
    Broken,
}

impl Parser {
    /// For requests whose heads and bodies have at most so many bytes.
    #[must_use]
    pub fn new(max_head: usize, max_body: usize) -> Self {
        Self {
            input: Vec::new(),
            state: State::Head,
            max_head,
            max_body,
        }
    }

    /// Takes bytes. To keep them bounded, more are only to be given after [`Event::Incomplete`].
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Whether a request has begun and not ended.
    #[must_use]
    pub fn in_request(&self) -> bool {
        !self.input.is_empty() || !matches!(self.state, State::Head)
    }

    /// What comes next. To be called until it is [`Event::Incomplete`].
    pub fn next_event(&mut self) -> Event {
        let result = match &self.state {
            State::Head => self.head(),
            State::Body { .. } => self.body(),
            State::Broken => {
                self.input.clear();
                Ok(Event::Incomplete)
            }
        };
        result.unwrap_or_else(|fault| {
            self.state = State::Broken;
            Event::Fault(fault)
        })
    }

    fn head(&mut self) -> Result<Event, Fault> {
        let parsed = Head::parse(&self.input)?;
        let length = parsed
            .as_ref()
            .map_or(self.input.len(), |(_, length)| *length);
        if length > self.max_head {
            return Err(Fault::bad_request(format!(
                "Invalid request: its head has more than {} bytes.",
                self.max_head
            )));
        }
        let Some((head, length)) = parsed else {
            return Ok(Event::Incomplete);
        };
        self.input.drain(..length);
        if let BodyLength::Known(size) = head.body
            && usize::try_from(size).map_or(true, |size| size > self.max_body)
        {
            return Err(too_large(size, self.max_body));
        }
        let waits = head.expects_continue && head.body != BodyLength::Known(0);
        self.state = State::Body {
            head,
            body: Vec::new(),
            chunks: Chunked::default(),
        };
        if waits && self.input.is_empty() {
            return Ok(Event::Continue);
        }
        self.body()
    }

    fn body(&mut self) -> Result<Event, Fault> {
        let State::Body { head, body, chunks } = &mut self.state else {
            return Ok(Event::Incomplete);
        };
        let complete = match head.body {
            BodyLength::Known(size) => {
                let missing = usize::try_from(size).unwrap_or(usize::MAX) - body.len();
                let there = missing.min(self.input.len());
                body.extend(self.input.drain(..there));
                there == missing
            }
            BodyLength::Chunked => chunks.take(&mut self.input, body, self.max_body)?,
        };
        if !complete {
            return Ok(Event::Incomplete);
        }
        let request = HttpRequest {
            method: std::mem::take(&mut head.method),
            path: std::mem::take(&mut head.path),
            body: std::mem::take(body),
            keep_alive: head.keep_alive,
        };
        self.state = State::Head;
        Ok(Event::Request(request))
    }
}
