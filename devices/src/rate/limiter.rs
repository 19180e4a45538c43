//! A limiter with a clock and a timerfd.
//!
//! The limits belong to the device and are not locked. A change comes from another thread: it is left in a mailbox, and the
//! timer, which the device waits for anyway, goes off at once to tell of it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::config::RateConfig;
use super::limits::Limits;
use super::state::{RateRestoreError, RateState};
use crate::timer::{Timer, now};

/// Times that are no further apart are the same: one wait, computed twice, differs by a nanosecond.
const SAME: Duration = Duration::from_micros(1);

/// Holds a device to its rates. The device watches [`RateLimiter::fd`] and tries again when it becomes readable.
#[derive(Debug)]
pub struct RateLimiter {
    limits: Limits,
    shared: Arc<Shared>,
    /// When the timer will go off, if it is set.
    armed: Option<Duration>,
}

/// Changes a limiter that is in use; from any thread.
#[derive(Clone, Debug)]
pub struct RateControl {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    timer: Timer,
    /// What is to be changed, in order of arrival, merged into one.
    mailbox: Mutex<RateConfig>,
    /// Whether there is something in the mailbox, so that a request need not lock it.
    has_mail: AtomicBool,
}

impl RateLimiter {
    /// A limiter whose buckets are full.
    ///
    /// # Errors
    /// If the kernel has no more descriptors.
    pub fn new(config: &RateConfig) -> io::Result<Self> {
        Self::with(Limits::new(config, now()))
    }

    /// A limiter as it was saved.
    ///
    /// # Errors
    /// [`RateRestoreError`] if a bucket can't be, or the kernel has no more descriptors.
    pub fn restore(state: &RateState) -> Result<Self, RateRestoreError> {
        Self::with(Limits::restore(state, now())?).map_err(RateRestoreError::Timer)
    }

    fn with(limits: Limits) -> io::Result<Self> {
        let shared = Shared {
            timer: Timer::new()?,
            mailbox: Mutex::default(),
            has_mail: AtomicBool::new(false),
        };
        Ok(Self {
            limits,
            shared: Arc::new(shared),
            armed: None,
        })
    }

    /// The means to change it while it is in use.
    #[must_use]
    pub fn control(&self) -> RateControl {
        RateControl {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The timer. It becomes readable when what was refused would pass, and when limits changed. Wait for it
    /// edge-triggered: it is never read, and each time it goes off is an edge of its own.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.shared.timer.as_fd()
    }

    /// Whether a request may pass; if so, it is paid for. If not, the timer is set for when it would. A request that is
    /// larger than a bucket passes as soon as that bucket has no debt, and leaves one.
    #[must_use]
    pub fn take(&mut self, bytes: u64, ops: u64) -> bool {
        let admitted = self.admits(bytes, ops);
        if admitted {
            self.charge(bytes, ops);
        }
        admitted
    }

    /// The same without paying: for what may yet fail, or has a size that is only known once it is done.
    /// [`RateLimiter::charge`] follows if it was done.
    #[must_use]
    pub fn admits(&mut self, bytes: u64, ops: u64) -> bool {
        loop {
            self.take_mail();
            if self.limits.is_unlimited() {
                return true;
            }
            let now = now();
            let Err(wait) = self.limits.admit(bytes, ops, now) else {
                return true;
            };
            self.arm(now, now.saturating_add(wait));
            // A change that came meanwhile has set the timer, which now is set for something else.
            if !self.shared.has_mail.load(Ordering::Acquire) {
                return false;
            }
        }
    }

    /// Pays for what was done, even if that leaves a debt.
    pub fn charge(&mut self, bytes: u64, ops: u64) {
        self.limits.charge(bytes, ops);
    }

    /// The limits that there are.
    #[must_use]
    pub fn config(&mut self) -> RateConfig {
        self.take_mail();
        self.limits.config()
    }

    /// What must be saved.
    #[must_use]
    pub fn save(&self) -> RateState {
        let mut limits = self.limits.clone();
        if self.shared.has_mail.load(Ordering::Acquire) {
            limits.change(&self.shared.lock(), now());
        }
        limits.save(now())
    }

    /// Sets the timer, unless it is set already: a driver that kicks again and again while it waits costs no system calls.
    fn arm(&mut self, now: Duration, at: Duration) {
        let is_set = |armed: Duration| armed > now && armed.abs_diff(at) < SAME;
        if !self.armed.is_some_and(is_set) {
            self.shared.timer.set(at);
            self.armed = Some(at);
        }
    }

    fn take_mail(&mut self) {
        if !self.shared.has_mail.load(Ordering::Acquire) {
            return;
        }
        let mut mailbox = self.shared.lock();
        self.shared.has_mail.store(false, Ordering::Release);
        let change = std::mem::take(&mut *mailbox);
        self.limits.change(&change, now());
        // Whoever left the change has set the timer.
        self.armed = None;
    }
}

impl RateControl {
    /// Changes the limits that `config` names; the others stay. A size or refill time of 0 ends a limit. Tokens and debts
    /// are kept as far as they fit, and what was spent of a one-time burst stays spent.
    pub fn change(&self, config: &RateConfig) {
        let mut mailbox = self.shared.lock();
        if config.bandwidth.is_some() {
            mailbox.bandwidth = config.bandwidth;
        }
        if config.ops.is_some() {
            mailbox.ops = config.ops;
        }
        self.shared.has_mail.store(true, Ordering::Release);
        // With the lock held: who takes the mail out also knows that the timer is not set as it was.
        self.shared.timer.set(Duration::from_nanos(1));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, RateConfig> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
