//! What reaches the process from outside, besides the API: signals, and the end of whoever started it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use hull_vm_api::ExitCause;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::signals::{Request, Signals};

/// Something that somebody outside wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// An orderly end.
    PowerOff,
    /// An end at once.
    End(ExitCause),
}

/// Where wishes come from.
#[derive(Debug)]
pub(crate) struct Outside {
    signals: Signals,
    /// Nothing is ever written into it; it ends when its other end does.
    lifeline: Option<File>,
    asked: bool,
    /// The lifeline has ended, and that was told.
    alone: bool,
}

impl Outside {
    /// Signals, and the pipe whose end is the end of the process.
    #[must_use]
    pub(crate) fn new(signals: Signals, lifeline: Option<File>) -> Self {
        Self {
            signals,
            lifeline,
            asked: false,
            alone: false,
        }
    }

    /// What becomes readable when there is a wish.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let lifeline = self.lifeline.iter().map(AsFd::as_fd);
        std::iter::once(self.signals.as_fd()).chain(lifeline)
    }

    /// The next wish, if there is one.
    pub(crate) fn wish(&mut self) -> Option<Wish> {
        match self.signals.next() {
            Some(Request::Terminate) if !self.asked => {
                self.asked = true;
                return Some(Wish::PowerOff);
            }
            Some(_) => return Some(Wish::End(ExitCause::Terminated)),
            None => {}
        }
        if self.alone || !self.lifeline_ended() {
            return None;
        }
        self.alone = true;
        Some(Wish::End(ExitCause::ParentGone))
    }

    /// Whether the lifeline has ended.
    fn lifeline_ended(&mut self) -> bool {
        let Some(pipe) = &mut self.lifeline else {
            return false;
        };
        let mut fds = [PollFd::new(pipe, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec::default()));
        let ready = ready.is_ok_and(|ready| ready > 0);
        // It is readable, so this does not wait. Bytes mean nothing; an error is as good as an end.
        ready && pipe.read(&mut [0; 64]).unwrap_or(0) == 0
    }
}
