//! Connections to the guest that the VMM itself asks for, from any thread.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// How a dialled connection began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialOutcome {
    /// The guest has accepted.
    Accepted,
    /// Nobody in the guest listens, or the guest has no driver for this device, or went away.
    Refused,
}

/// Called with the outcome, on the event loop or on the vCPU that resets the device. Must not wait.
pub type OnOutcome = Box<dyn FnOnce(DialOutcome) + Send>;

/// A wish that the event loop has not seen yet.
pub(super) struct Dial {
    pub(super) port: u32,
    pub(super) stream: UnixStream,
    pub(super) on_outcome: OnOutcome,
}

struct Shared {
    wishes: Mutex<Vec<Dial>>,
    bell: EventFd,
}

/// Dials ports of the guest. Clones share the device.
#[derive(Clone)]
pub struct Dialer {
    shared: Arc<Shared>,
}

impl Dialer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                wishes: Mutex::default(),
                bell: EventFd::new(EFD_NONBLOCK)?,
            }),
        })
    }

    /// Connects `stream` to a port of the guest, as if a client had connected and asked for it, but without the handshake
    /// in the stream. While the stream's other end is open, so is the connection.
    ///
    /// # Errors
    /// If the event loop can't be told.
    pub fn dial(&self, port: u32, stream: UnixStream, on_outcome: OnOutcome) -> io::Result<()> {
        self.wishes().push(Dial {
            port,
            stream,
            on_outcome,
        });
        self.shared.bell.write(1)
    }

    pub(super) fn bell(&self) -> &EventFd {
        &self.shared.bell
    }

    pub(super) fn take(&self) -> Vec<Dial> {
        // Whether it rang does not matter: the wishes are what counts.
        let _ = self.shared.bell.read();
        std::mem::take(&mut *self.wishes())
    }

    fn wishes(&self) -> std::sync::MutexGuard<'_, Vec<Dial>> {
        self.shared
            .wishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}
