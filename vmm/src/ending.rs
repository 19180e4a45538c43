//! How the machine's end is told from wherever it happens (a vCPU, a device, a signal) to the event loop.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use hull_vm_api::ExitCause;
use rustix::event::{EventfdFlags, eventfd};

/// Why the machine ended, with what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The cause, which is also the exit status.
    pub cause: ExitCause,
    /// More about it, for the person who asks why.
    pub detail: Option<String>,
}

/// The first end that is announced counts.
#[derive(Debug)]
pub struct Ending {
    end: OnceLock<End>,
    event: OwnedFd,
}

impl Ending {
    /// # Errors
    /// If the host has no descriptors left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            end: OnceLock::new(),
            event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        })
    }

    /// Ends the machine, unless it has ended already.
    pub fn announce(&self, cause: ExitCause) {
        self.set(End {
            cause,
            detail: None,
        });
    }

    /// Ends the machine with more to say about it.
    pub fn announce_with(&self, cause: ExitCause, detail: String) {
        self.set(End {
            cause,
            detail: Some(detail),
        });
    }

    fn set(&self, end: End) {
        if self.end.set(end).is_ok() {
            // It cannot fail: the counter is far from full.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// The end, once there is one.
    #[must_use]
    pub fn get(&self) -> Option<&End> {
        self.end.get()
    }

    /// Becomes readable when the machine has ended, and stays so.
    #[must_use]
    pub fn event(&self) -> &OwnedFd {
        &self.event
    }
}
