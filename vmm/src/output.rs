//! Where the serial port's bytes go. A slow reader slows the guest down, but cannot keep the machine from ending.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};

use crate::ending::Ending;

/// A pipe takes so much without waiting when it is writable at all (POSIX `PIPE_BUF` on Linux).
const AT_ONCE: usize = 4096;

/// A file that is waited for as long as the machine runs.
#[derive(Debug)]
pub(crate) struct Output {
    file: File,
    ending: Arc<Ending>,
}

impl Output {
    /// Writes to `file` until the machine ends.
    #[must_use]
    pub(crate) fn new(file: File, ending: Arc<Ending>) -> Self {
        Self { file, ending }
    }

    /// Waits until there is room, or the machine has ended.
    fn has_room(&self) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(&self.file, PollFlags::OUT),
            PollFd::new(self.ending.event(), PollFlags::IN),
        ];
        poll(&mut fds, None)?;
        let [output, _] = fds;
        Ok(!output.revents().is_empty())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.has_room()? {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let (now, _) = bytes.split_at(bytes.len().min(AT_ONCE));
        self.file.write(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hull_vm_api::ExitCause;

    use super::*;

    #[test]
    fn a_full_pipe_holds_nothing_up_once_the_machine_has_ended() {
        let (_reader, writer) = io::pipe().unwrap();
        let ending = Arc::new(Ending::new().unwrap());
        let fd: std::os::fd::OwnedFd = writer.into();
        let mut output = Output::new(fd.into(), ending.clone());
        output.write_all(b"hello").unwrap();
        ending.announce(ExitCause::PowerOff);
        let mut written = 0;
        let error = loop {
            match output.write(&[0; 10_000]) {
                Ok(count) => written += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(written >= 4096);
    }
}
