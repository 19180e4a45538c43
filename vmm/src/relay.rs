//! Output of the guest to files and terminals of the host, which may make whoever writes to them wait.
//!
//! Neither a vCPU nor the event loop may wait. So where the host's end is not one that answers at once, a thread of its own
//! carries bytes from a pipe to it: the pipe is the buffer, as large as the kernel makes pipes (64 KiB), and whoever writes into that
//! sees when it is full.

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};

use crate::sandbox::Confinement;
use crate::sandbox::seccomp::Kind;

/// Bytes that are carried in one piece.
const PIECE: usize = 4096;
/// It has one buffer and no deep calls.
const STACK: usize = 64 * 1024;
/// How long the end of a machine waits for what is still to be carried, of each relay.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread that carries bytes. It ends when it is dropped or finished, but is not waited for if the host's end makes it wait.
#[derive(Debug)]
pub(crate) struct Relay {
    name: &'static str,
    stop: OwnedFd,
    /// Nothing is ever sent: the thread closes it at its end.
    ended: Receiver<()>,
}

/// The guest's end for output to `file`: one that never makes anybody wait; and the relay that it needs for that, if any.
///
/// # Errors
/// If the host has no descriptors or threads.
pub(crate) fn output(
    name: &'static str,
    file: File,
    confinement: Option<&Confinement>,
) -> io::Result<(OwnedFd, Option<Relay>)> {
    if answers_at_once(&file)? {
        return Ok((file.into(), None));
    }
    let (from, to) = io::pipe()?;
    for end in [from.as_fd(), to.as_fd()] {
        fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
    }
    let stop = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
    let stopped = stop.try_clone()?;
    let (alive, ended) = mpsc::channel::<()>();
    let confinement = confinement.cloned();
    let mut carrier = Carrier {
        from,
        to: file,
        stopped,
    };
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let entered = confinement.map_or(Ok(()), |confinement| confinement.enter(Kind::Lane));
            let carried = entered.map_err(io::Error::other);
            if let Err(error) = carried.and_then(|()| carrier.carry()) {
                tracing::warn!("the output of the {name} is lost: {error}");
            }
            drop(alive);
        })?;
    let relay = Relay { name, stop, ended };
    Ok((to.into(), Some(relay)))
}

/// Whether writing to it never waits: a pipe or socket that is told not to. A terminal may be slow all the same, and a file's disk too.
fn answers_at_once(file: &File) -> io::Result<bool> {
    let kind = FileType::from_raw_mode(fstat(file)?.st_mode);
    let stream = matches!(kind, FileType::Fifo | FileType::Socket);
    Ok(stream && fcntl_getfl(file)?.contains(OFlags::NONBLOCK))
}

impl Relay {
    /// Has what is in the pipe carried, and ends the thread; not for ever, if the host's end does not take it.
    pub(crate) fn finish(self) {
        self.stop();
        if self.ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let name = self.name;
            tracing::warn!("nobody takes the last output of the {name}; ending without it");
        }
    }

    fn stop(&self) {
        // It cannot fail: the counter is far from full.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread's own.
struct Carrier {
    from: PipeReader,
    to: File,
    stopped: OwnedFd,
}

impl Carrier {
    /// Carries until the pipe is empty after a stop, or its other end is closed.
    fn carry(&mut self) -> io::Result<()> {
        let mut lost = None;
        let mut piece = [0; PIECE];
        loop {
            let stopped = self.wait()?;
            match self.from.read(&mut piece) {
                Ok(0) => break,
                Ok(count) if lost.is_none() => {
                    let piece = piece.get(..count).unwrap_or_default();
                    lost = self.write(piece).err();
                }
                // Nobody takes it; the guest is to go on.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && stopped => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        lost.map_or(Ok(()), Err)
    }

    /// Waits for bytes or the stop; whether that came.
    fn wait(&self) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(&self.from, PollFlags::IN),
            PollFd::new(&self.stopped, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [_, stopped] = fds;
        Ok(!stopped.revents().is_empty())
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(&self.to, PollFlags::OUT)];
                    let _ = poll(&mut fds, None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    /// Fills what never makes anybody wait; how many bytes it took.
    fn fill(to: &OwnedFd) -> usize {
        let mut sum = 0;
        loop {
            match rustix::io::write(to, &[b'x'; PIECE]) {
                Ok(count) => sum += count,
                Err(error) => {
                    assert_eq!(error, rustix::io::Errno::AGAIN);
                    return sum;
                }
            }
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_takes_a_bounded_amount_and_holds_up_nobody() {
        let (mut reader, writer) = io::pipe().unwrap();
        let writer: OwnedFd = writer.into();
        let (to, relay) = output("test", writer.into(), None).unwrap();
        let relay = relay.unwrap();
        // The thread empties one pipe into the other until both are full.
        let mut sum = 0;
        loop {
            let more = fill(&to);
            sum += more;
            if more == 0 && thread_waits(&reader) {
                break;
            }
        }
        assert!(sum <= 2 * (64 << 10) + PIECE, "{sum}");
        // All of it comes, in time.
        drop(to);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), sum);
        relay.finish();
    }

    /// Whether the pipe behind the relay is full, so that its thread waits.
    fn thread_waits(reader: &PipeReader) -> bool {
        let full = rustix::io::ioctl_fionread(reader).unwrap();
        full >= 64 << 10
    }

    #[test]
    fn the_last_bytes_reach_a_file_and_pipes_that_answer_need_no_thread() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let (to, relay) = output("test", file.reopen().unwrap(), None).unwrap();
        rustix::io::write(&to, b"the last words").unwrap();
        relay.unwrap().finish();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the last words");

        let (_reader, writer) = io::pipe().unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        let number = writer.as_raw_fd();
        let writer: OwnedFd = writer.into();
        let (to, relay) = output("test", writer.into(), None).unwrap();
        assert_eq!((to.as_raw_fd(), relay.is_none()), (number, true));
    }

    #[test]
    fn a_reader_that_is_gone_does_not_keep_the_writer() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let writer: OwnedFd = writer.into();
        let (to, relay) = output("test", writer.into(), None).unwrap();
        let mut sum = 0;
        while sum < 1 << 20 {
            sum += fill(&to);
        }
        relay.unwrap().finish();
    }
}
