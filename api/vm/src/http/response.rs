//! The bytes of an answer.

use crate::fault::Fault;
use crate::reply::{JSON, Reply};

/// Tells a client to send its body (RFC 9110, 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// An answer on its way into bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: (u16, &'static str),
    body: Option<Vec<u8>>,
    content_type: &'static str,
    /// The request used something that Firecracker has deprecated.
    pub deprecated: bool,
    /// The connection stays.
    pub keep_alive: bool,
    /// The answer to HEAD, which has no body whatever its head says.
    pub head_only: bool,
}

impl Response {
    /// The answer to a request; the connection stays.
    #[must_use]
    pub fn new(answer: &Result<Reply, Fault>) -> Self {
        let body = match answer {
            Ok(reply) => reply
                .body()
                .map_err(|error| Fault::internal(format!("the answer cannot be written: {error}"))),
            Err(fault) => Err(fault.clone()),
        };
        let (status, body) = match body {
            Ok(None) => ((204, "No Content"), None),
            Ok(body) => ((200, "OK"), body),
            Err(fault) => (fault.status.line(), Some(fault.body())),
        };
        Self {
            status,
            body,
            content_type: answer.as_ref().map_or(JSON, Reply::content_type),
            deprecated: false,
            keep_alive: true,
            head_only: false,
        }
    }

    /// Puts it behind what is to be sent.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (code, name) = self.status;
        let connection = if self.keep_alive {
            "keep-alive"
        } else {
            "close"
        };
        let mut head =
            format!("HTTP/1.1 {code} {name}\r\nServer: Hull API\r\nConnection: {connection}\r\n");
        if self.deprecated {
            head.push_str("Deprecation: true\r\n");
        }
        if let Some(body) = &self.body {
            let length = body.len();
            let kind = self.content_type;
            let fields = format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n");
            head.push_str(&fields);
        }
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        if !self.head_only {
            out.extend_from_slice(self.body.as_deref().unwrap_or_default());
        }
    }
}
