//! One request and its answer, over a connection of their own.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Status};

use super::ClientError;
use crate::fault::FaultBody;
use crate::request::Method;

/// Longest answer: metadata can be as long as the VMM was told.
const MAX_ANSWER: usize = 64 << 20;
/// Most header fields of an answer.
const MAX_FIELDS: usize = 32;

/// A connection, with the moment at which patience ends.
pub(super) struct Exchange {
    stream: UnixStream,
    time: Duration,
    until: Option<Instant>,
}

/// The head of an answer.
struct Head {
    length: usize,
    status: u16,
    /// Without it the body ends with the connection.
    body: Option<usize>,
}

impl Exchange {
    pub(super) fn connect(path: &Path, time: Duration) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| ClientError::Connect {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            stream,
            time,
            until: Instant::now().checked_add(time),
        })
    }

    /// Sends the request; returns the body of its answer.
    pub(super) fn run(
        mut self,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, ClientError> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: application/json\r\n"
        )
        .into_bytes();
        if !body.is_empty() {
            let length = body.len();
            let fields = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
            request.extend_from_slice(fields.as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        // Whoever refuses a request may do so before it has all of it: what it says then matters more.
        let sent = self.send(&request);
        match self.receive() {
            Err(ClientError::Io(error)) => Err(ClientError::Io(sent.err().unwrap_or(error))),
            answer => answer,
        }
    }

    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.left()?))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut input = Vec::new();
        let head = loop {
            match Head::parse(&input)? {
                // Informational, such as 100: the answer is still to come.
                Some(head) if head.status < 200 => {
                    input.drain(..head.length);
                }
                Some(head) => break head,
                None if self.read(&mut input)? == 0 => return Err(cut_off()),
                None => {}
            }
        };
        input.drain(..head.length);
        let complete = |input: &[u8]| head.body.is_some_and(|length| input.len() >= length);
        while !complete(&input) {
            if self.read(&mut input)? == 0 {
                match head.body {
                    Some(_) => return Err(cut_off()),
                    None => break,
                }
            }
        }
        input.truncate(head.body.unwrap_or(input.len()));
        match head.status {
            200..=299 => Ok(input),
            status => Err(fault(status, &input)),
        }
    }

    fn read(&mut self, input: &mut Vec<u8>) -> Result<usize, ClientError> {
        if input.len() > MAX_ANSWER {
            let sentence = format!("its answer has more than {MAX_ANSWER} bytes");
            return Err(ClientError::Protocol(sentence));
        }
        let mut buffer = [0; 8 << 10];
        loop {
            let left = self.left().map_err(|_| ClientError::Time(self.time))?;
            self.stream
                .set_read_timeout(Some(left))
                .map_err(ClientError::Io)?;
            match self.stream.read(&mut buffer) {
                Ok(length) => {
                    input.extend_from_slice(&buffer[..length]);
                    return Ok(length);
                }
                Err(error) => match error.kind() {
                    // Of the time-out, and of a signal.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Err(ClientError::Io(error)),
                },
            }
        }
    }

    /// What is left of the time: more than none.
    fn left(&self) -> io::Result<Duration> {
        let Some(until) = self.until else {
            return Ok(Duration::MAX);
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>, ClientError> {
        let mut fields = [EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(bytes) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(error) => return Err(ClientError::Protocol(format!("its answer: {error}"))),
        };
        let status = response.code.unwrap_or_default();
        let mut body = match status {
            100..=199 | 204 | 304 => Some(0),
            _ => None,
        };
        for field in response.headers {
            if field.name.eq_ignore_ascii_case("content-length") {
                let text = str::from_utf8(field.value).unwrap_or_default();
                let length = text.trim().parse().ok();
                let length = length.filter(|length| *length <= MAX_ANSWER);
                let length = length.ok_or_else(|| {
                    ClientError::Protocol(format!("its answer has the Content-Length {text:?}"))
                })?;
                body = body.or(Some(length));
            }
            if field.name.eq_ignore_ascii_case("transfer-encoding") {
                let sentence = "its answer has a Transfer-Encoding".to_owned();
                return Err(ClientError::Protocol(sentence));
            }
        }
        Ok(Some(Self {
            length,
            status,
            body,
        }))
    }
}

fn fault(status: u16, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<FaultBody>(body) {
        Ok(FaultBody {
            fault_message: message,
        }) => ClientError::Fault { status, message },
        Err(_) => ClientError::Protocol(format!("its answer is {status} without a fault_message")),
    }
}

fn cut_off() -> ClientError {
    ClientError::Io(ErrorKind::UnexpectedEof.into())
}
