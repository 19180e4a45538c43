//! The time since boot, from the vDSO: no system call.

#![allow(unsafe_code)]

/// Microseconds since the kernel started.
pub(crate) fn since_boot_us() -> u64 {
    let now = now(libc::CLOCK_MONOTONIC);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds * 1_000_000 + nanoseconds / 1000
}

/// Microseconds since 1970.
pub(crate) fn wall_us() -> i128 {
    let now = now(libc::CLOCK_REALTIME);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec / 1000)
}

fn now(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes a `timespec`; both clocks exist in every kernel.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now
}
