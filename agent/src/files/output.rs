//! Standard output: small pieces are collected, contents of files go from the page cache into the pipe.

use std::os::fd::AsFd;

use rustix::fs::sendfile;
use rustix::io::{Errno, write};

use crate::sys::read;

/// As much as a pipe holds.
const FULL: usize = 64 * 1024;
/// A file up to this size is rather copied than sent by a call of its own.
const SMALL: u64 = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Output {
    buffer: Vec<u8>,
}

impl Output {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.buffer.extend_from_slice(bytes);
        match self.buffer.len() < FULL {
            true => Ok(()),
            false => self.flush(),
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), Errno> {
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            match write(rustix::stdio::stdout(), rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn zeros(&mut self, mut count: u64) -> Result<(), Errno> {
        while let Ok(now @ 1..) = usize::try_from(count.min(4096)) {
            self.write(&[0; 4096][..now])?;
            count -= now as u64;
        }
        Ok(())
    }

    /// Exactly `size` bytes, with zeros for those that a file does not have any more: its size was promised.
    pub(super) fn content(&mut self, file: &impl AsFd, size: u64) -> Result<Sent, Errno> {
        let mut left = size;
        if size > SMALL {
            self.flush()?;
            while let Ok(now @ 1..) = usize::try_from(left.min(1 << 20)) {
                match sendfile(rustix::stdio::stdout(), file, None, now) {
                    Ok(0) | Err(Errno::INVAL) => break,
                    Ok(count) => left -= count as u64,
                    Err(Errno::INTR) => {}
                    Err(Errno::PIPE) => return Err(Errno::PIPE),
                    Err(error) => return self.zeros(left).map(|()| Sent::Unreadable(error)),
                }
            }
        }
        while let Ok(now @ 1..) = usize::try_from(left.min(FULL as u64)) {
            match read::append(file, &mut self.buffer, now) {
                Ok(0) => break,
                Ok(count) => left -= count as u64,
                Err(Errno::INTR) => {}
                Err(error) => return self.zeros(left).map(|()| Sent::Unreadable(error)),
            }
            self.write(&[])?;
        }
        self.zeros(left).map(|()| Sent::Whole)
    }
}

/// What became of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Whole,
    /// The archive is as long as it must be, but not all in it is the file's.
    Unreadable(Errno),
}
