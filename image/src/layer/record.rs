//! Looks on while an archive is read, and writes down what is not the content of a file.

use std::io::{self, BufRead, Read};

use super::Error;
use super::headers::HeadersWriter;

/// Passes a stream on and records it.
pub(super) struct Recorder<'a, R> {
    inner: R,
    headers: &'a mut HeadersWriter,
    is_content: bool,
    failed: Option<io::Error>,
}

impl<'a, R: BufRead> Recorder<'a, R> {
    pub(super) fn new(inner: R, headers: &'a mut HeadersWriter) -> Self {
        Self {
            inner,
            headers,
            is_content: false,
            failed: None,
        }
    }

    /// The next `length` bytes are those at `offset` of the file whose record is number `entry`.
    pub(super) fn begin_content(
        &mut self,
        entry: u64,
        offset: u64,
        length: u64,
    ) -> Result<(), Error> {
        self.headers.content(entry, offset, length)?;
        self.is_content = true;
        Ok(())
    }

    /// What comes now is no content.
    pub(super) fn end_content(&mut self) {
        self.is_content = false;
    }

    /// Reads what follows the archive.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }

    /// Why recording failed, if it did: then `error` only says that reading went no further.
    pub(super) fn cause(&mut self, error: Error) -> Error {
        match self.failed.take() {
            Some(source) => Error::io("write", self.headers.path(), source),
            None => error,
        }
    }
}

impl<R: BufRead> Read for Recorder<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Recorder<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Err(error) = self.headers.spill() {
            self.failed = Some(error);
            return Err(io::Error::other("recording failed"));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What was filled before is there, so this reads nothing.
        if !self.is_content
            && let Ok(bytes) = self.inner.fill_buf()
        {
            self.headers.bytes(bytes.get(..amount).unwrap_or(bytes));
        }
        self.inner.consume(amount);
    }
}
