//! The agent's ends of a process's streams. Standard input is held while the process does not read
//! it, at most a window of it; output is not held at all, but read when it can be sent.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use hull_agent_protocol::{MAX_DATA, Overrun, ReceiveWindow, SendWindow, Stream, TtySize, header};
use rustix::io::{Errno, ioctl_fionread, write};

use super::stdio;
use crate::sys::read;

/// What ends input on a terminal: the character EOT, as Ctrl-D sends it.
const END_OF_FILE: u8 = 4;

/// More than a terminal can hold, which does not tell how much it does.
const HELD_BY_TERMINAL: usize = 128 * 1024;

/// Standard input.
#[derive(Debug)]
pub(crate) struct Input {
    target: Target,
    /// What the process has not read yet.
    pending: Vec<u8>,
    /// End of file comes after `pending`.
    ending: bool,
    window: ReceiveWindow,
}

#[derive(Debug)]
enum Target {
    Closed,
    Pipe(OwnedFd),
    Terminal(Rc<OwnedFd>),
}

impl Input {
    pub(super) fn pipe(fd: OwnedFd) -> Self {
        Self::to(Target::Pipe(fd))
    }

    pub(super) fn terminal(fd: Rc<OwnedFd>) -> Self {
        Self::to(Target::Terminal(fd))
    }

    pub(super) fn none() -> Self {
        Self::to(Target::Closed)
    }

    fn to(target: Target) -> Self {
        let window = ReceiveWindow::new(Stream::Stdin.window());
        Self {
            target,
            pending: Vec::new(),
            ending: false,
            window,
        }
    }

    /// Takes data from the engine and passes on what the process has room for. Returns the credit
    /// to give back, if any is due.
    ///
    /// # Errors
    /// The engine sent more than it may.
    pub(crate) fn receive(&mut self, data: &[u8]) -> Result<Option<u32>, Overrun> {
        self.window.received(data.len())?;
        if self.ending {
            return Ok(self.window.consumed(data.len()));
        }
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(data);
            return Ok(None);
        }
        let written = self.write(data);
        self.pending
            .extend_from_slice(data.get(written..).unwrap_or_default());
        Ok(self.window.consumed(written))
    }

    /// The process may have room again. Returns the credit to give back, if any is due.
    pub(crate) fn flush(&mut self) -> Option<u32> {
        let pending = std::mem::take(&mut self.pending);
        let written = self.write(&pending);
        self.pending = pending;
        self.pending.drain(..written.min(self.pending.len()));
        if self.pending.is_empty() && self.ending {
            self.finish();
        }
        self.window.consumed(written)
    }

    /// No more input will come.
    pub(crate) fn end(&mut self) {
        if !self.ending {
            self.ending = true;
            if matches!(self.target, Target::Terminal(_)) {
                self.pending.push(END_OF_FILE);
            }
            let _ = self.flush();
        }
    }

    /// Goes on over another channel. What is pending is not counted there.
    pub(super) fn reattach(&mut self) {
        self.window = ReceiveWindow::new(Stream::Stdin.window());
    }

    /// What to wait for until there is room; `None` when nothing is pending.
    pub(crate) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        match &self.target {
            _ if self.pending.is_empty() => None,
            Target::Closed => None,
            Target::Pipe(fd) => Some(fd.as_fd()),
            Target::Terminal(fd) => Some(fd.as_fd()),
        }
    }

    /// Changes the size of the window, if this is a terminal.
    pub(crate) fn resize(&self, size: TtySize) {
        if let Target::Terminal(leader) = &self.target {
            let _ = stdio::resize(leader, size);
        }
    }

    /// The process is gone, and with it whoever would read.
    pub(crate) fn finish(&mut self) {
        self.target = Target::Closed;
        self.pending = Vec::new();
    }

    /// Writes what there is room for; everything when nobody will ever read it.
    fn write(&mut self, data: &[u8]) -> usize {
        let fd = match &self.target {
            Target::Closed => return data.len(),
            Target::Pipe(fd) => fd.as_fd(),
            Target::Terminal(fd) => fd.as_fd(),
        };
        if data.is_empty() {
            return 0;
        }
        match write(fd, data) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => {
                self.target = Target::Closed;
                data.len()
            }
        }
    }
}

/// Standard output or error.
#[derive(Debug)]
pub(crate) struct Output {
    stream: Stream,
    source: Option<Rc<OwnedFd>>,
    window: SendWindow,
    /// How much is still read, once the process has ended.
    after_exit: Option<usize>,
}

/// What came of reading a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// A frame was appended.
    Sent,
    /// Nothing is there now, or nothing may be sent now.
    Blocked,
    /// The stream has just ended.
    Ended,
}

impl Output {
    pub(super) fn new(stream: Stream, source: Rc<OwnedFd>) -> Self {
        let window = SendWindow::new(stream.window());
        Self {
            stream,
            source: Some(source),
            window,
            after_exit: None,
        }
    }

    pub(crate) fn stream(&self) -> Stream {
        self.stream
    }

    /// The engine has taken so many bytes.
    ///
    /// # Errors
    /// More than it was sent.
    pub(crate) fn credit(&mut self, bytes: u32) -> Result<(), Overrun> {
        self.window.credit(bytes)
    }

    /// Goes on over another channel.
    pub(super) fn reattach(&mut self) {
        self.window = SendWindow::new(self.stream.window());
    }

    /// What to wait for until there is output that may be sent.
    pub(crate) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        if self.window.available() == 0 {
            return None;
        }
        self.source.as_ref().map(|fd| fd.as_fd())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.source.is_some()
    }

    /// Nobody wants the rest: the process gets `EPIPE`.
    pub(crate) fn close(&mut self) {
        self.source = None;
    }

    /// The process has ended. `alone`: nobody else can write to the stream, so it is read to its end; otherwise
    /// only what is in it now was the process's, and the rest is that of others who still have it open.
    pub(crate) fn process_ended(&mut self, alone: bool) {
        let held = |source: &OwnedFd| match rustix::termios::isatty(source) {
            true => HELD_BY_TERMINAL,
            false => ioctl_fionread(source)
                .ok()
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or(HELD_BY_TERMINAL),
        };
        self.after_exit = match &self.source {
            Some(source) if !alone => Some(held(source)),
            _ => Some(usize::MAX),
        };
    }

    /// Reads what is there into one frame at the end of `outgoing`. Once the process has ended, what is not there
    /// now will not come.
    pub(crate) fn pump(&mut self, outgoing: &mut Vec<u8>) -> Progress {
        let Some(source) = &self.source else {
            return Progress::Blocked;
        };
        let mut limit = self.window.available().min(MAX_DATA);
        if limit == 0 {
            return Progress::Blocked;
        }
        limit = limit.min(self.after_exit.unwrap_or(limit));
        // The header's place is kept before the data comes, so that the data need not be moved.
        let start = outgoing.len();
        outgoing.extend_from_slice(&header(self.stream, 0));
        let result = match limit {
            0 => Ok(0),
            _ => read::append(source, outgoing, limit),
        };
        match result {
            Ok(count @ 1..) => {
                let place = outgoing.get_mut(start..);
                if let Some(place) = place.and_then(|frame| frame.first_chunk_mut()) {
                    *place = header(self.stream, count);
                }
                self.window.sent(count);
                if let Some(left) = &mut self.after_exit {
                    *left = left.saturating_sub(count);
                }
                Progress::Sent
            }
            Err(Errno::AGAIN | Errno::INTR) if self.after_exit.is_none() => {
                outgoing.truncate(start);
                Progress::Blocked
            }
            // The end of a pipe; EIO is the end of a terminal.
            _ => {
                outgoing.truncate(start);
                self.source = None;
                Progress::Ended
            }
        }
    }
}

#[cfg(test)]
mod tests;
