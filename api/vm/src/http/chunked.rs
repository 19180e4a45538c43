//! Bodies in chunks (RFC 9112, 7.1).

use crate::fault::Fault;

/// Puts the chunks of a body together, as its bytes come in.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of lines: sizes with their extensions, and trailers.
    line_bytes: usize,
}

/// Where in a body we are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the line with the size of a chunk.
    #[default]
    Size,
    /// In a chunk, with so many bytes to come.
    Data(usize),
    /// At the end of the line behind a chunk.
    AfterData,
    /// Behind the last chunk: lines until an empty one.
    Trailer,
}

/// Most bytes of all lines of one body. Chunks of a byte each would still fit into the default limit.
const MAX_LINES: usize = 512 << 10;
/// Longest line.
const MAX_LINE: usize = 4 << 10;

impl Chunked {
    /// Takes from the front of `input` what it can, puts what belongs to the body behind `body`, and says whether that was all
    /// of it. `limit` is the greatest length of a body.
    pub(super) fn take(
        &mut self,
        input: &mut Vec<u8>,
        body: &mut Vec<u8>,
        limit: usize,
    ) -> Result<bool, Fault> {
        let mut used = 0;
        let result = self.scan(input, &mut used, body, limit);
        input.drain(..used);
        result
    }

    fn scan(
        &mut self,
        input: &[u8],
        used: &mut usize,
        body: &mut Vec<u8>,
        limit: usize,
    ) -> Result<bool, Fault> {
        loop {
            let rest = &input[*used..];
            if let State::Data(left) = self.state {
                let length = left.min(rest.len());
                body.extend_from_slice(&rest[..length]);
                *used += length;
                if length < left {
                    self.state = State::Data(left - length);
                    return Ok(false);
                }
                self.state = State::AfterData;
                continue;
            }
            let Some(line) = self.line(rest)? else {
                return Ok(false);
            };
            *used += line.len() + 2;
            self.state = match self.state {
                State::Size => match size(line)? {
                    0 => State::Trailer,
                    size if size > limit.saturating_sub(body.len()) => {
                        return Err(too_large(body.len().saturating_add(size), limit));
                    }
                    size => State::Data(size),
                },
                State::AfterData if line.is_empty() => State::Size,
                State::Trailer if line.is_empty() => return Ok(true),
                State::Trailer => State::Trailer,
                State::AfterData | State::Data(_) => return Err(invalid()),
            };
        }
    }

    /// The line at the front, without its end; `None` if it is not there yet.
    fn line<'a>(&mut self, input: &'a [u8]) -> Result<Option<&'a [u8]>, Fault> {
        let Some(end) = input.iter().position(|b| *b == b'\n') else {
            if input.len() > MAX_LINE {
                return Err(invalid());
            }
            return Ok(None);
        };
        self.line_bytes += end + 1;
        if end > MAX_LINE || self.line_bytes > MAX_LINES {
            return Err(invalid());
        }
        match input[..end].strip_suffix(b"\r") {
            Some(line) => Ok(Some(line)),
            None => Err(invalid()),
        }
    }
}

/// The size of a chunk. Extensions behind a semicolon mean nothing here.
fn size(line: &[u8]) -> Result<usize, Fault> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default();
    let text = str::from_utf8(digits).unwrap_or_default().trim_ascii_end();
    let hex = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    let size = usize::from_str_radix(text, 16).ok().filter(|_| hex);
    size.ok_or_else(invalid)
}

fn invalid() -> Fault {
    Fault::bad_request("Invalid request: the chunks of its body are damaged.")
}

/// A body beyond the limit, in Firecracker's words.
pub(super) fn too_large(size: impl std::fmt::Display, limit: usize) -> Fault {
    Fault::bad_request(format!(
        "Request payload with size {size} is larger than the limit of {limit} allowed by server."
    ))
}
