//! A timerfd on the monotonic clock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
};

/// Becomes readable at a set time. It is never read: wait for it edge-triggered, for each time it goes off is an edge of
/// its own.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            flags,
        )?))
    }

    /// Sets it for a time as [`now`] gives it, at once if that is past. [`Duration::ZERO`] stops it.
    pub(crate) fn set(&self, at: Duration) {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: at.subsec_nanos().into(),
            },
        };
        if let Err(error) =
            rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once)
        {
            tracing::error!(%error, "a device's timer can't be set");
        }
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The time on the monotonic clock.
pub(crate) fn now() -> Duration {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}
