//! When statistics are due.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::poller::Poller;
use crate::timer::{self, Timer};

/// A timer that goes off again and again.
#[derive(Debug)]
pub(super) struct Ticker {
    timer: Timer,
    poller: Poller,
    /// Zero for never.
    interval: Duration,
    next: Duration,
}

impl Ticker {
    /// Goes off first after `seconds`; never if that is 0.
    pub(super) fn new(seconds: u16) -> io::Result<Self> {
        let mut ticker = Self {
            timer: Timer::new()?,
            poller: Poller::new()?,
            interval: Duration::ZERO,
            next: Duration::ZERO,
        };
        ticker.poller.add_edge(&ticker.timer)?;
        ticker.set(seconds, Duration::from_secs(seconds.into()));
        Ok(ticker)
    }

    /// Readable when it went off.
    pub(super) fn fd(&self) -> RawFd {
        self.poller.fd()
    }

    /// Goes off at once, and then every `seconds`, if that is not 0.
    pub(super) fn restart(&mut self, seconds: u16) {
        self.set(seconds, Duration::ZERO);
    }

    fn set(&mut self, seconds: u16, first: Duration) {
        self.interval = Duration::from_secs(seconds.into());
        if seconds > 0 {
            self.next = timer::now().saturating_add(first);
            self.timer.set(self.next);
        }
    }

    /// Whether it went off, and if so, when next. What was missed is not made up for.
    pub(super) fn take(&mut self) -> bool {
        self.poller.drain();
        let now = timer::now();
        if self.interval.is_zero() || now < self.next {
            return false;
        }
        self.next = now.saturating_add(self.interval);
        self.timer.set(self.next);
        true
    }
}
