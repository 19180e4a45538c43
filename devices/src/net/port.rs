//! What is behind a pair of queues: a TAP, or a stream.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::stream::Stream;
use super::tap::{Queue, Tap, TapError};
use crate::iov::{Scatter, Span};

/// The host's end of a pair of queues.
#[derive(Debug)]
pub enum Port {
    /// The kernel, which can finish frames.
    Tap(Tap),
    /// Another process. There is one of it at an interface, and nothing is offloaded.
    Stream(Stream),
}

impl From<Tap> for Port {
    fn from(tap: Tap) -> Self {
        Self::Tap(tap)
    }
}

impl From<Stream> for Port {
    fn from(stream: Stream) -> Self {
        Self::Stream(stream)
    }
}

impl Port {
    /// Whether it can be one of several of an interface.
    pub(super) fn is_multi_queue(&self) -> bool {
        matches!(self, Self::Tap(tap) if tap.is_multi_queue())
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// See [`Tap::knows_uso`].
    pub(super) fn knows_uso(&self) -> bool {
        matches!(self, Self::Tap(tap) if tap.knows_uso())
    }

    /// See [`Tap::set_offloads`].
    pub(super) fn set_offloads(&self, guest: u64) -> Result<(), TapError> {
        match self {
            Self::Tap(tap) => tap.set_offloads(guest),
            Self::Stream(_) => Ok(()),
        }
    }

    /// See [`Tap::set_queue`].
    pub(super) fn set_queue(&self, queue: Queue) -> Result<(), TapError> {
        match self {
            Self::Tap(tap) => tap.set_queue(queue),
            Self::Stream(_) => Ok(()),
        }
    }

    /// Whether nobody is there any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.is_over())
    }

    /// Whether something that was taken has yet to go out.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.is_sending())
    }

    /// Sends what was taken and has yet to go out.
    pub(super) fn flush(&mut self) {
        if let Self::Stream(stream) = self {
            // What goes wrong shows in what it says it is.
            let _ = stream.flush();
        }
    }

    /// Sends a frame of the guest: `head`, which begins with virtio's header of `header` bytes, and the rest.
    pub(super) fn send(
        &mut self,
        (head, header): (&[u8], usize),
        rest: Span<'_>,
        len: usize,
        scatter: &mut Scatter,
    ) -> io::Result<()> {
        match self {
            Self::Tap(tap) => scatter.write_frame(head, rest, tap.as_fd()).map(drop),
            Self::Stream(stream) => {
                let frame = head.get(header..).unwrap_or_default();
                stream.send(frame, rest, len.saturating_sub(header))
            }
        }
    }

    /// Sends a frame of the guest as it is. Only to a TAP: a stream has no place for virtio's header.
    pub(super) fn forward(&self, request: Span<'_>, scatter: &mut Scatter) -> io::Result<()> {
        match self {
            Self::Tap(tap) => scatter.write_whole(request, tap.as_fd()).map(drop),
            Self::Stream(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Reads a frame for nobody; false if there was none. `spill` is longer than any frame.
    pub(super) fn discard(&mut self, spill: &mut [u8]) -> io::Result<bool> {
        match self {
            Self::Tap(tap) => Ok(rustix::io::read(tap, spill)? > 0),
            Self::Stream(stream) => stream.next().map(|_| true),
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tap(tap) => tap.as_fd(),
            Self::Stream(stream) => stream.as_fd(),
        }
    }
}
