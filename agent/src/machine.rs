//! The machine around the container: its clock, randomness, loopback, control groups and power.

pub(crate) mod cgroup;
pub(crate) mod power;
pub(crate) mod processes;
pub(crate) mod stats;

use hull_agent_protocol::{Clock, FailureKind};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::failure::{Explain, Result};
use crate::sys::{ioctl, time};

/// A difference that is rather the message's way from the engine than the clock's error: a guest
/// that has just booted has the right time from kvmclock, to the microsecond.
const CLOCK_TOLERANCE_US: u64 = 250_000;

/// Sets the clock, if it is wrong.
pub(crate) fn set_clock(clock: Clock) -> Result<()> {
    let wanted = i128::from(clock.seconds) * 1_000_000 + i128::from(clock.nanoseconds / 1000);
    if (wanted - time::wall_us()).unsigned_abs() <= u128::from(CLOCK_TOLERANCE_US) {
        return Ok(());
    }
    let time = Timespec {
        tv_sec: clock.seconds,
        tv_nsec: clock.nanoseconds.into(),
    };
    clock_settime(ClockId::Realtime, time).explain(FailureKind::System, || {
        format!("set the clock to {} s", clock.seconds)
    })
}

/// Adds random bytes of the host to the kernel's pool.
pub(crate) fn add_entropy(data: &[u8]) -> Result<()> {
    for piece in data.chunks(ioctl::MAX_ENTROPY) {
        openat(
            CWD,
            "/dev/urandom",
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .and_then(|random| ioctl::add_entropy(&random, piece))
        .explain(FailureKind::System, || {
            "add entropy to the kernel's pool".into()
        })?;
    }
    Ok(())
}

/// Brings the loopback interface up.
pub(crate) fn bring_loopback_up() -> std::result::Result<(), Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    ioctl::bring_loopback_up(&socket)
}
