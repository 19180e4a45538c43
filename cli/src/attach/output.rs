//! What a program says: plain bytes of a terminal, or frames of two streams.

use std::io::{self, ErrorKind};
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is taken at once, in bytes.
const PIECE: usize = 32 * 1024;

/// Where a program said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A program's output, as the daemon sends it.
pub(crate) struct Output {
    from: Pin<Box<dyn AsyncRead + Send>>,
    /// In frames: a byte for the stream, three of zero, and a length of four, big endian.
    framed: bool,
    /// What is left of the frame that was begun.
    frame: (Stream, usize),
}

impl Output {
    pub(crate) fn new(from: impl AsyncRead + Send + 'static, framed: bool) -> Self {
        Self {
            from: Box::pin(from),
            framed,
            frame: (Stream::Stdout, 0),
        }
    }

    /// The next bytes; nothing at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<(Stream, Bytes)>> {
        let mut most = PIECE;
        if self.framed {
            while self.frame.1 == 0 {
                match self.header().await? {
                    Some(frame) => self.frame = frame,
                    None => return Ok(None),
                }
            }
            most = most.min(self.frame.1);
        }
        let mut piece = BytesMut::with_capacity(most);
        let count = (&mut self.from)
            .take(u64::try_from(most).unwrap_or(u64::MAX))
            .read_buf(&mut piece)
            .await?;
        match (count, self.framed) {
            (0, false) => return Ok(None),
            (0, true) => return Err(ErrorKind::UnexpectedEof.into()),
            (count, true) => self.frame.1 -= count,
            _ => {}
        }
        Ok(Some((self.frame.0, piece.freeze())))
    }

    async fn header(&mut self) -> io::Result<Option<(Stream, usize)>> {
        let mut header = [0; 8];
        if self.from.read(&mut header[..1]).await? == 0 {
            return Ok(None);
        }
        self.from.read_exact(&mut header[1..]).await?;
        let [kind, _, _, _, length @ ..] = header;
        let stream = match kind {
            // 3 is what the daemon itself has to say.
            2 | 3 => Stream::Stderr,
            _ => Stream::Stdout,
        };
        let length = u32::from_be_bytes(length);
        Ok(Some((
            stream,
            usize::try_from(length).unwrap_or(usize::MAX),
        )))
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("framed", &self.framed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    async fn read(bytes: &'static [u8], framed: bool) -> io::Result<Vec<(Stream, Vec<u8>)>> {
        let mut output = Output::new(Cursor::new(bytes), framed);
        let mut all = Vec::new();
        while let Some((stream, piece)) = output.next().await? {
            all.push((stream, piece.to_vec()));
        }
        Ok(all)
    }

    #[tokio::test]
    async fn frames_tell_streams_apart_and_a_terminal_has_none() {
        let framed = b"\x01\0\0\0\0\0\0\x02hi\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\x01!";
        let expected = [
            (Stream::Stdout, b"hi".to_vec()),
            (Stream::Stderr, b"!".to_vec()),
        ];
        assert_eq!(read(framed, true).await.unwrap(), expected);
        let raw = b"\x01\0\0\0 any";
        assert_eq!(
            read(raw, false).await.unwrap(),
            [(Stream::Stdout, raw.to_vec())]
        );
        assert!(read(b"\x01\0\0\0\0\0\0\x02h", true).await.is_err());
        assert!(read(b"\x01\0", true).await.is_err());
    }
}
