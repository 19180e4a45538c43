//! A stream of frames in place of a TAP: each follows its length, 32 bits, big-endian, as passt and QEMU (`-netdev stream`) have it.
//!
//! A stream keeps nothing apart, so a part of a frame can come, and a part of one can go; both wait here for the rest. There is
//! nobody behind it who could finish frames: they carry no virtio header, and all checksums in them are written.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::frame::{ETHERNET, HEADER, MAX_FRAME};
use crate::iov::Span;

/// Bytes of a length.
const PREFIX: usize = 4;
/// Room for two frames of the largest kind, so that a call brings many small ones.
const ROOM: usize = 2 * (PREFIX + MAX_FRAME);

/// Why a descriptor cannot be a stream of frames.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It is something else.
    #[error("the descriptor is no connected Unix stream socket")]
    NoStream(#[source] io::Error),
}

/// A connected Unix stream socket that carries frames.
#[derive(Debug)]
pub struct Stream {
    socket: OwnedFd,
    /// What came: whole frames, and at the end a part of one.
    came: Vec<u8>,
    /// Up to here it was taken.
    taken: usize,
    /// Up to here something came.
    end: usize,
    /// The frame that is being sent, behind its length.
    going: Vec<u8>,
    /// How much of it went.
    gone: usize,
    /// The other end is closed, or says what is no frame.
    is_over: bool,
}

impl Stream {
    /// Takes a connected socket. It is made non-blocking.
    ///
    /// # Errors
    /// [`StreamError`] if it is something else.
    pub fn new(socket: OwnedFd) -> Result<Self, StreamError> {
        check(&socket).map_err(StreamError::NoStream)?;
        Ok(Self {
            socket,
            came: Vec::new(),
            taken: 0,
            end: 0,
            going: Vec::new(),
            gone: 0,
            is_over: false,
        })
    }

    /// Whether nothing will ever come or go again.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether a part of a frame waits for room.
    pub(super) fn is_sending(&self) -> bool {
        self.gone < self.going.len() && !self.is_over
    }

    /// Takes the next frame, behind an empty virtio header.
    ///
    /// # Errors
    /// `WouldBlock` if there is none yet, `UnexpectedEof` if there will be none any more.
    pub(super) fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            self.fill()?;
        }
    }

    /// Sends a frame: `head`, then what is in the guest. It is taken as a whole or not at all, but a part of it may have yet to go.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room, `BrokenPipe` if there is nobody, `InvalidInput` if it is not in the guest's memory.
    pub(super) fn send(&mut self, head: &[u8], rest: Span<'_>, len: usize) -> io::Result<()> {
        self.flush()?;
        let prefix = u32::try_from(len).map_err(|_| ErrorKind::InvalidInput)?;
        self.gone = 0;
        self.going.clear();
        self.going.extend(prefix.to_be_bytes());
        self.going.extend_from_slice(head);
        let known = self.going.len();
        self.going.resize(PREFIX + len, 0);
        let copied = match self.going.get_mut(known..) {
            Some(target) => rest.copy_out(target).map_err(io::Error::from),
            None => Err(ErrorKind::InvalidInput.into()),
        };
        match copied {
            Ok(count) if known + count == PREFIX + len => {}
            other => {
                self.going.clear();
                return Err(other.err().unwrap_or(ErrorKind::InvalidInput.into()));
            }
        }
        match self.flush() {
            // The rest follows.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            sent => sent,
        }
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// `WouldBlock` if not all of it went, `BrokenPipe` if there is nobody.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.is_over {
            return Err(ErrorKind::BrokenPipe.into());
        }
        while let Some(rest) = self.going.get(self.gone..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(&self.socket, rest) {
                Ok(count) => self.gone += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(ErrorKind::WouldBlock.into()),
                Err(errno) => return Err(self.over(errno.into())),
            }
        }
        Ok(())
    }

    /// Takes a whole frame from what came.
    fn take(&mut self) -> io::Result<Option<Vec<u8>>> {
        let there = self.came.get(self.taken..self.end).unwrap_or_default();
        let Some((prefix, rest)) = there.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if !(ETHERNET..=MAX_FRAME).contains(&len) {
            // Nobody knows where the next one begins.
            tracing::warn!(
                len,
                "what comes through a network interface's stream is no frame"
            );
            return Err(self.over(ErrorKind::InvalidData.into()));
        }
        let Some(bytes) = rest.get(..len) else {
            return Ok(None);
        };
        let mut frame = Vec::with_capacity(HEADER + len);
        frame.resize(HEADER, 0);
        frame.extend_from_slice(bytes);
        self.taken += PREFIX + len;
        Ok(Some(frame))
    }

    /// Reads what there is room for.
    fn fill(&mut self) -> io::Result<()> {
        if self.is_over {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.came.resize(ROOM, 0);
        self.came.copy_within(self.taken..self.end, 0);
        self.end -= self.taken;
        self.taken = 0;
        let room = self.came.get_mut(self.end..).unwrap_or_default();
        loop {
            match rustix::io::read(&self.socket, &mut *room) {
                Ok(0) => return Err(self.over(ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    self.end += count;
                    return Ok(());
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(ErrorKind::WouldBlock.into()),
                Err(errno) => return Err(self.over(errno.into())),
            }
        }
    }

    fn over(&mut self, error: io::Error) -> io::Error {
        self.is_over = true;
        error
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn check(socket: &OwnedFd) -> io::Result<()> {
    let is_stream = sockopt::socket_type(socket)? == SocketType::STREAM;
    let is_unix = sockopt::socket_domain(socket)? == AddressFamily::UNIX;
    if !is_stream || !is_unix {
        return Err(ErrorKind::InvalidInput.into());
    }
    rustix::net::getpeername(socket)?;
    let flags = rustix::fs::fcntl_getfl(socket)?;
    rustix::fs::fcntl_setfl(socket, flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok(())
}
