//! What the agent has to say that no one asked for: to the kernel's log.

use rustix::fs::{CWD, Mode, OFlags, openat};

/// Writes `message` to the kernel's log, or nowhere: there is no better place.
pub(crate) fn warn(message: &str) {
    if let Ok(log) = openat(
        CWD,
        "/dev/kmsg",
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        let _ = rustix::io::write(&log, format!("<4>hull-agent: {message}\n").as_bytes());
    }
}
