//! Messages between the keeper and the machine's process: JSON behind its length, in a stream.
//!
//! The keeper never waits for the machine: what does not fit into the socket waits here. The machine's side trusts the keeper; the
//! keeper trusts nothing that comes back, and so bounds it.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a length.
const HEAD: usize = 4;
/// What is read at a time, in bytes.
const READ_SIZE: usize = 16 << 10;

/// One end.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: UnixStream,
    /// Read and not yet a whole message.
    incoming: Vec<u8>,
    /// Not yet written.
    outgoing: Vec<u8>,
    /// The longest message that is taken, in bytes.
    longest: usize,
}

impl Channel {
    /// An end that takes no message of more than `longest` bytes.
    ///
    /// # Errors
    /// If the host refuses it.
    pub(crate) fn new(socket: OwnedFd, longest: usize) -> io::Result<Self> {
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            longest,
        })
    }

    /// Sends a message, as far as it can be sent without waiting.
    ///
    /// # Errors
    /// If the other end is gone.
    pub(crate) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_vec(message)?;
        let length = u32::try_from(json.len()).map_err(io::Error::other)?;
        self.outgoing.extend_from_slice(&length.to_ne_bytes());
        self.outgoing.extend_from_slice(&json);
        self.flush()
    }

    /// Sends what waits, as far as that goes without waiting.
    ///
    /// # Errors
    /// If the other end is gone.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outgoing.shrink_to(READ_SIZE);
        Ok(())
    }

    /// Sends all that waits.
    ///
    /// # Errors
    /// If the other end is gone.
    pub(crate) fn flush_all(&mut self) -> io::Result<()> {
        self.flush()?;
        while !self.outgoing.is_empty() {
            self.wait(PollFlags::OUT)?;
            self.flush()?;
        }
        Ok(())
    }

    /// What is to be waited for.
    pub(crate) fn interest(&self) -> PollFlags {
        match self.outgoing.is_empty() {
            true => PollFlags::IN,
            false => PollFlags::IN | PollFlags::OUT,
        }
    }

    /// The next message, if all of it is there.
    ///
    /// # Errors
    /// If the other end is gone, or says what it must not.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(Some(message));
            }
            let mut buffer = [0; READ_SIZE];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.incoming.extend(buffer.iter().take(length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// If the other end is gone.
    pub(crate) fn await_message<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        loop {
            if let Some(message) = self.receive()? {
                return Ok(message);
            }
            self.wait(PollFlags::IN)?;
        }
    }

    /// A message that is all there.
    fn whole<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some((head, rest)) = self.incoming.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_ne_bytes(*head)).unwrap_or(usize::MAX);
        if length > self.longest {
            return Err(ErrorKind::InvalidData.into());
        }
        let Some(json) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(json)?;
        self.incoming.drain(..HEAD + length);
        self.incoming.shrink_to(READ_SIZE);
        Ok(Some(message))
    }

    fn wait(&self, what: PollFlags) -> io::Result<()> {
        loop {
            match poll(&mut [PollFd::new(&self.stream, what)], None) {
                Err(rustix::io::Errno::INTR) => {}
                done => return done.map(drop).map_err(Into::into),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(longest: usize) -> (Channel, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one.into(), longest).unwrap(), other)
    }

    #[test]
    fn messages_come_whole_and_in_order_however_they_are_cut() {
        let (mut channel, mut other) = pair(100);
        let mut bytes = Vec::new();
        for text in ["one", "two"] {
            let json = serde_json::to_vec(text).unwrap();
            bytes.extend(u32::try_from(json.len()).unwrap().to_ne_bytes());
            bytes.extend(json);
        }
        let mut got: Vec<String> = Vec::new();
        for byte in bytes {
            other.write_all(&[byte]).unwrap();
            got.extend(channel.receive::<String>().unwrap());
        }
        assert_eq!(got, ["one", "two"]);
        drop(other);
        assert!(channel.receive::<String>().is_err());
    }

    #[test]
    fn what_is_too_long_or_no_message_is_refused() {
        let (mut channel, mut other) = pair(100);
        other.write_all(&101_u32.to_ne_bytes()).unwrap();
        let error = channel.receive::<String>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);

        let (mut channel, mut other) = pair(100);
        other.write_all(&3_u32.to_ne_bytes()).unwrap();
        other.write_all(b"{}}").unwrap();
        assert!(channel.receive::<String>().is_err());
    }

    #[test]
    fn a_message_that_does_not_fit_waits_here_and_not_in_a_call() {
        let (mut channel, other) = pair(100);
        let long = "x".repeat(4 << 20);
        channel.send(&long).unwrap();
        assert!(channel.interest().contains(PollFlags::OUT));
        let reader = std::thread::spawn(move || {
            let mut other = Channel::new(other.into(), usize::MAX).unwrap();
            other.await_message::<String>().unwrap()
        });
        channel.flush_all().unwrap();
        assert_eq!(reader.join().unwrap(), long);
    }
}
