//! Asking the guest to power off: in the way that it listens to.
//!
//! Hull's agent listens on a vsock port and takes a connection to it for the press of a button. Other guests have the power button
//! of ACPI, or Hull's own kernel's, which is an interrupt line; whether anybody listens to it shows in the interrupt
//! controller. Who does not gets Ctrl-Alt-Del. Never two of them: many a guest reboots at those keys.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use hull_devices::vsock::{DialOutcome, Dialer};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::legacy::{ButtonLine, I8042};

/// Where Hull's agent listens for its end.
const AGENT_PORT: u32 = 1025;

/// All ways to ask.
#[derive(Debug)]
pub(crate) struct PowerButton {
    line: ButtonLine,
    keyboard: Arc<Mutex<I8042>>,
    vsock: Option<Dialer>,
    /// Readable when there was no agent. It is found out by whatever thread serves the vsock device just then, and what comes next
    /// is the event loop's to do.
    refused: Arc<EventFd>,
    /// Our end of the connection to the agent, open until the guest is gone.
    connection: Option<UnixStream>,
}

impl PowerButton {
    /// A button for a machine with this line, this keyboard and, perhaps, a vsock device.
    ///
    /// # Errors
    /// If the host has no descriptors left.
    pub(crate) fn new(
        line: ButtonLine,
        keyboard: Arc<Mutex<I8042>>,
        vsock: Option<Dialer>,
    ) -> io::Result<Self> {
        Ok(Self {
            line,
            keyboard,
            vsock,
            refused: Arc::new(EventFd::new(EFD_NONBLOCK)?),
            connection: None,
        })
    }

    /// Presses Ctrl-Alt-Del, whatever the guest listens to.
    pub(crate) fn press_keys(&self) {
        self.keyboard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .press_ctrl_alt_del();
    }

    /// Asks, and does not wait for an answer.
    pub(crate) fn press(&mut self) {
        let asked = match &self.vsock {
            Some(dialer) => dial(dialer, self.refused.clone()),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match asked {
            Ok(connection) => self.connection = Some(connection),
            Err(_) => self.press_without_agent(),
        }
    }

    /// What becomes readable when [`PowerButton::go_on`] is to be called.
    pub(crate) fn bell(&self) -> RawFd {
        self.refused.as_raw_fd()
    }

    /// Asks in another way if there was no agent.
    pub(crate) fn go_on(&self) {
        if self.refused.read().is_ok() {
            self.press_without_agent();
        }
    }

    fn press_without_agent(&self) {
        if !self.line.press() {
            tracing::info!("the guest has no power button: Ctrl-Alt-Del is pressed instead");
            self.press_keys();
        }
    }
}

fn dial(dialer: &Dialer, refused: Arc<EventFd>) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let outcome = move |outcome| {
        if outcome == DialOutcome::Refused {
            // It cannot fail: nobody asks so often that the counter is full.
            let _ = refused.write(1);
        }
    };
    dialer.dial(AGENT_PORT, theirs, Box::new(outcome))?;
    Ok(ours)
}
