//! The outermost layer: a length, a kind, a body. Called by both ends on plain byte slices.
//!
//! Data does not pass through the serialiser, so that the agent can read from a pipe straight into
//! the buffer that it sends.

use crate::message::{Message, Stream};

/// Bytes before the body: its length (`u32`, little-endian) and its kind (`u8`).
pub const HEADER_LEN: usize = 5;

/// The most bytes of a stream that one frame carries.
pub const MAX_DATA: usize = 64 * 1024;

const KIND_MESSAGE: u8 = 0;

/// What a frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a, M> {
    /// A typed message.
    Message(M),
    /// A piece of a stream, 1 to [`MAX_DATA`] bytes.
    Data(Stream, &'a [u8]),
}

/// A frame and how many bytes of the input it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<'a, M> {
    /// The frame.
    pub frame: Frame<'a, M>,
    /// Bytes to drop from the front of the input.
    pub consumed: usize,
}

/// Bytes that are no frame. The channel cannot go on after any of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The kind byte names nothing that may travel in this direction.
    #[error("a frame of kind {0}, which does not exist in this direction")]
    Kind(u8),
    /// The body is longer than its kind may be, or an empty piece of a stream.
    #[error("a frame of kind {kind} with a body of {length} bytes; 1 to {limit} are allowed")]
    Length {
        /// The kind byte.
        kind: u8,
        /// The length that the header claims.
        length: u32,
        /// The most that is allowed.
        limit: usize,
    },
    /// The body is not a message.
    #[error("a frame whose message cannot be decoded: {0}")]
    Message(#[source] postcard::Error),
    /// The body is a message and something more.
    #[error("a frame with {0} bytes after its message")]
    Trailing(usize),
}

/// The header of a frame with a body of `length` bytes of `stream`; `length` must not exceed [`MAX_DATA`].
#[must_use]
pub fn header(stream: Stream, length: usize) -> [u8; HEADER_LEN] {
    raw_header(stream.kind(), length)
}

fn raw_header(kind: u8, length: usize) -> [u8; HEADER_LEN] {
    // Saturating: a length that large is refused by the receiver, never truncated to a valid one.
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [a, b, c, d, kind]
}

/// Appends `message` as one frame to `output`.
///
/// # Errors
/// The message is larger than [`Message::MAX_LEN`]; `output` is as it was.
pub fn encode<M: Message>(message: &M, output: &mut Vec<u8>) -> Result<(), FrameError> {
    let body = postcard::to_stdvec(message).map_err(FrameError::Message)?;
    if body.len() > M::MAX_LEN {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        return Err(FrameError::Length {
            kind: KIND_MESSAGE,
            length,
            limit: M::MAX_LEN,
        });
    }
    output.extend_from_slice(&raw_header(KIND_MESSAGE, body.len()));
    output.extend_from_slice(&body);
    Ok(())
}

/// Appends `data` to `output` as as many frames of `stream` as it takes.
pub fn encode_data(stream: Stream, data: &[u8], output: &mut Vec<u8>) {
    for piece in data.chunks(MAX_DATA) {
        output.extend_from_slice(&header(stream, piece.len()));
        output.extend_from_slice(piece);
    }
}

/// Reads the frame at the start of `input`; `None` when more bytes are needed.
///
/// # Errors
/// [`FrameError`] as soon as the bytes cannot become a frame, which for a wrong header is before
/// the body arrives.
pub fn decode<M: Message>(input: &[u8]) -> Result<Option<Received<'_, M>>, FrameError> {
    let Some((&[a, b, c, d, kind], rest)) = input.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes([a, b, c, d]);
    let stream = match kind {
        KIND_MESSAGE => None,
        _ => Some(
            Stream::of_kind(kind)
                .filter(|s| M::carries(*s))
                .ok_or(FrameError::Kind(kind))?,
        ),
    };
    let limit = if stream.is_some() {
        MAX_DATA
    } else {
        M::MAX_LEN
    };
    let body_len = usize::try_from(length).unwrap_or(usize::MAX);
    if body_len == 0 || body_len > limit {
        return Err(FrameError::Length {
            kind,
            length,
            limit,
        });
    }
    let Some(body) = rest.get(..body_len) else {
        return Ok(None);
    };
    let frame = match stream {
        Some(stream) => Frame::Data(stream, body),
        None => {
            let (message, rest) = postcard::take_from_bytes(body).map_err(FrameError::Message)?;
            if !rest.is_empty() {
                return Err(FrameError::Trailing(rest.len()));
            }
            Frame::Message(message)
        }
    };
    Ok(Some(Received {
        frame,
        consumed: HEADER_LEN + body_len,
    }))
}

#[cfg(test)]
mod tests;
