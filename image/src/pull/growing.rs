//! A file that is written by one thread and read by another at the same time.
//!
//! Downloads are kept in a file so that they can be resumed; unpacking follows the file as it grows, so memory
//! stays bounded however much faster one side is.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far the writer is.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    available: u64,
    end: Option<End>,
}

/// How the writer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything is there.
    Complete,
    /// No more will come, though more was expected.
    Interrupted,
}

impl Growth {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is two plain values; a panic elsewhere cannot leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first `available` bytes of the file may be read.
    pub(crate) fn grown_to(&self, available: u64) {
        self.state().available = available;
        self.changed.notify_all();
    }

    /// Nothing comes any more. The first end counts.
    pub(crate) fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Waits for bytes from `position` on: how many there are, 0 at the end.
    fn wait(&self, position: u64) -> io::Result<u64> {
        let mut state = self.state();
        loop {
            if state.available > position {
                return Ok(state.available - position);
            }
            match state.end {
                Some(End::Complete) => return Ok(0),
                Some(End::Interrupted) => {
                    return Err(io::Error::other("the download was interrupted"));
                }
                None => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// Reads a growing file from its start.
#[derive(Debug)]
pub(crate) struct Follower {
    file: File,
    growth: Arc<Growth>,
    position: u64,
}

impl Follower {
    pub(crate) fn new(file: File, growth: Arc<Growth>) -> Self {
        Self {
            file,
            growth,
            position: 0,
        }
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let ready = usize::try_from(self.growth.wait(self.position)?).unwrap_or(usize::MAX);
        let length = buffer.len().min(ready);
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        let count = self.file.read_at(buffer, self.position)?;
        if count == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }
}
