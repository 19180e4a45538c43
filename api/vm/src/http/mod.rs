//! HTTP/1.1 (RFC 9112) as far as this API needs it: bytes to requests, and answers to bytes. No I/O.

mod chunked;
mod head;
mod parser;
mod response;
#[cfg(test)]
mod tests;

pub use parser::{Event, HttpRequest, Parser};
pub use response::{CONTINUE, Response};
