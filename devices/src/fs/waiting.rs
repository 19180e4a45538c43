//! Requests for locks that someone else has.
//!
//! No thread is to wait for one, so such a request is set aside with its buffers, and tried again whenever something
//! is unlocked through this device, and by a timer, for others unlock as well: after 4 ms, and then at longer and longer
//! intervals up to 128 ms. They are tried in the order in which they came. There is no limit to how long one waits, just as
//! in fcntl(2); a signal ends it only in guests that send INTERRUPT, which Linux' virtio-fs driver does not.
//!
//! A lock of flock(2) may be in the way that is about to go: Linux does not wait for the end of a RELEASE, and another thread may be
//! faster with the request behind it. So a request that does not wait is tried again until no older one closes the same file.
//!
//! There is a limit to how many wait: were all descriptors of a queue taken, no request to unlock could come. Beyond an
//! eighth of the smallest queue (a request has four buffers or so) it fails with ENOLCK.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::config::FsError;
use super::locks::LockRequest;
use super::work::Errand;
use crate::{Chain, Virtqueue};

const SHORTEST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(128);

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) queue: u16,
    pub(super) chain: Chain,
    pub(super) unique: u64,
    pub(super) lock: LockRequest,
    /// It waits for older requests alone that close its file. How old it is itself.
    pub(super) order: Option<u64>,
    /// There are no such requests any more, so it is not tried again.
    pub(super) last: bool,
}

impl Waiter {
    pub(super) fn of(errand: &Errand, unique: u64, lock: LockRequest) -> Self {
        let chain = &errand.chain;
        Self {
            queue: errand.queue,
            chain: Chain::of_reply(chain.head(), chain.writable().to_vec()),
            unique,
            lock,
            order: None,
            last: false,
        }
    }
}

/// All requests that wait, in the order in which they came.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) waiters: Vec<Waiter>,
    timer: OwnedFd,
    interval: Duration,
    /// The most that may wait.
    max: usize,
}

impl Waiting {
    pub(super) fn new() -> Result<Self, FsError> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(|error| FsError::Timer(error.into()))?;
        Ok(Self {
            waiters: Vec::new(),
            timer,
            interval: SHORTEST,
            max: 0,
        })
    }

    /// Learns how large the queues are that the driver has set up.
    pub(super) fn set_queues<'a>(&mut self, queues: impl Iterator<Item = &'a Virtqueue>) {
        let ready = queues.filter(|queue| queue.is_ready());
        let smallest = ready.map(|queue| queue.state().size).min();
        self.max = usize::from(smallest.unwrap_or(0) / 8);
    }

    /// Whether there is room for one more.
    pub(super) fn has_room(&self) -> bool {
        self.waiters.len() < self.max
    }

    /// The most that may wait.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Readable when it is time to try again.
    pub(super) fn fd(&self) -> RawFd {
        self.timer.as_fd().as_raw_fd()
    }

    /// Takes the timer's expirations away, so that its descriptor is not readable.
    pub(super) fn take_expirations(&self) {
        let mut count = [0; 8];
        // It fails if there are none.
        let _ = rustix::io::read(&self.timer, &mut count);
    }

    /// Sets the timer for the next try, if anyone waits. `hope`: something has just happened, so it may be soon.
    pub(super) fn arm(&mut self, hope: bool) {
        self.interval = if hope {
            SHORTEST
        } else {
            (self.interval * 2).min(LONGEST)
        };
        let value = if self.waiters.is_empty() {
            Duration::ZERO
        } else {
            self.interval
        };
        self.set(value);
    }

    /// Sets no timer.
    pub(super) fn disarm(&self) {
        self.set(Duration::ZERO);
    }

    fn set(&self, value: Duration) {
        let time = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: 0,
                tv_nsec: value.subsec_nanos().into(),
            },
        };
        if let Err(error) = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time) {
            tracing::warn!(%error, "a lock that is waited for is not tried again by a timer");
        }
    }
}
