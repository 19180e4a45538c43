//! Asking the guest to power off.
//!
//! Hull's agent listens on a vsock port and takes a connection to it for the press of a button: its kernel has no keyboard, because
//! drivers for one cost boot time. Other guests get Ctrl-Alt-Del.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use hull_devices::vsock::{DialOutcome, Dialer};

use crate::legacy::I8042;

/// Where Hull's agent listens for its end.
const AGENT_PORT: u32 = 1025;

/// Both ways to ask.
#[derive(Debug)]
pub(crate) struct PowerButton {
    keyboard: Arc<Mutex<I8042>>,
    vsock: Option<Dialer>,
    /// Our end of the connection to the agent, open until the guest is gone.
    connection: Option<UnixStream>,
}

impl PowerButton {
    /// A button for a machine with this keyboard and, perhaps, a vsock device.
    #[must_use]
    pub(crate) fn new(keyboard: Arc<Mutex<I8042>>, vsock: Option<Dialer>) -> Self {
        Self {
            keyboard,
            vsock,
            connection: None,
        }
    }

    /// Presses Ctrl-Alt-Del, whatever the guest listens to.
    pub(crate) fn press_keys(&self) {
        press_keys(&self.keyboard);
    }

    /// Asks, and does not wait for an answer.
    pub(crate) fn press(&mut self) {
        let asked = match &self.vsock {
            Some(dialer) => dial(dialer, self.keyboard.clone()),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match asked {
            Ok(connection) => self.connection = Some(connection),
            Err(_) => press_keys(&self.keyboard),
        }
    }
}

fn dial(dialer: &Dialer, keyboard: Arc<Mutex<I8042>>) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let outcome = move |outcome| {
        if outcome == DialOutcome::Refused {
            press_keys(&keyboard);
        }
    };
    dialer.dial(AGENT_PORT, theirs, Box::new(outcome))?;
    Ok(ours)
}

fn press_keys(keyboard: &Mutex<I8042>) {
    keyboard
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .press_ctrl_alt_del();
}
