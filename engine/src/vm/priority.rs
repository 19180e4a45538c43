//! How much of the host's processors a machine gets where others want them, too.
//!
//! Docker's shares are weights, and so are Linux's nice values (`sched(7)`): one less weighs a quarter more. Unlike weights of control
//! groups they need none, so that they hold on every host. Where the kernel groups processes by their sessions (`autogroup`), and each
//! owner has one of its own, the group has such a value, too.

use std::io;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::setpriority_process;

/// The weight that a process has about which nothing was said.
const USUAL: f64 = 1024.0;
/// So much more one step weighs.
const STEP: f64 = 1.25;

/// A nice value, and its text, made before there is a child that must not allocate.
#[derive(Clone, Debug)]
pub(crate) struct Priority {
    nice: i32,
    text: String,
}

impl Priority {
    /// The nearest to this many shares; nothing where that is what a process has anyway.
    pub(crate) fn of(shares: u32) -> Option<Self> {
        let nice = nice(shares);
        (nice != 0).then(|| Self {
            nice,
            text: nice.to_string(),
        })
    }

    /// Gives it to the calling process. Allocates nothing.
    ///
    /// # Errors
    /// Only root may be more important than others.
    pub(crate) fn take(&self) -> io::Result<()> {
        setpriority_process(None, self.nice)?;
        // Not all kernels group by sessions.
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        if let Ok(file) = openat(CWD, c"/proc/self/autogroup", flags, Mode::empty()) {
            let _ = rustix::io::write(&file, self.text.as_bytes());
        }
        Ok(())
    }
}

fn nice(shares: u32) -> i32 {
    let steps = (USUAL / f64::from(shares.max(2))).ln() / STEP.ln();
    // Within the range by the line before.
    #[allow(clippy::cast_possible_truncation)]
    let nice = steps.round().clamp(-20.0, 19.0) as i32;
    nice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_weights() {
        for (shares, expected) in [
            (1024, 0),
            (512, 3),
            (2048, -3),
            (820, 1),
            (2, 19),
            (0, 19),
            (262_144, -20),
        ] {
            assert_eq!(nice(shares), expected, "{shares}");
        }
        assert!(Priority::of(1000).is_none());
    }
}
