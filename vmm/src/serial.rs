//! The serial port's ends on the host: where its bytes go, and what somebody types into it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use hull_devices::serial::{SerialBackend, SerialCounters, SerialPort, SerialState};
use hull_vm_api::config;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::error::StartError;
use crate::files::{Access, Files, duplicate};
use crate::legacy::IrqLine;
use crate::relay::{self, Relay};
use crate::snapshot::load::LoadError;
use crate::virtio::bandwidth;

/// More than the port holds.
const PIECE: usize = 64;

/// A serial port with its ends.
#[derive(Debug)]
pub(crate) struct Serial {
    pub(crate) port: Arc<Mutex<SerialPort>>,
    /// For the event loop, if there is any.
    pub(crate) input: Option<Input>,
    pub(crate) relay: Option<Relay>,
    pub(crate) counters: Arc<SerialCounters>,
}

impl Serial {
    /// Opens what the configuration names; the port is new, or as it was saved.
    ///
    /// # Errors
    /// What cannot be had.
    pub(crate) fn new(
        config: &config::Serial,
        files: &Files,
        line: IrqLine,
        saved: Option<&SerialState>,
    ) -> Result<Self, StartError> {
        let output = match &config.serial_out_path {
            Some(path) => files.open("serial.serial_out_path", path, Access::Append)?,
            None => {
                duplicate(1).map_err(StartError::host("standard output for the serial port"))?
            }
        };
        let typed = match &config.serial_in_path {
            Some(path) => Some(files.open("serial.serial_in_path", path, Access::Input)?),
            None => None,
        };
        let room = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC);
        let room = typed.as_ref().map(|_| room()).transpose();
        let room = room.map_err(StartError::host("an eventfd for the serial port"))?;
        let (out, relay) = relay::output("serial port", output, Some(files.confinement()))
            .map_err(StartError::host("a thread for the serial port"))?;
        let told = room.as_ref().map(EventFd::try_clone).transpose();
        let counters = Arc::<SerialCounters>::default();
        let backend = SerialBackend {
            out: Box::new(File::from(out)),
            room: told.map_err(StartError::host("an eventfd for the serial port"))?,
            rate: bandwidth(config.rate_limiter.as_ref()),
            counters: counters.clone(),
        };
        let port = match saved {
            None => SerialPort::new(line.into_inner(), backend),
            Some(state) => {
                SerialPort::restore(state, line.into_inner(), backend).map_err(LoadError::from)?
            }
        };
        let port = Arc::new(Mutex::new(port));
        let input = typed.zip(room).map(|(file, room)| Input {
            port: port.clone(),
            file: Some(file),
            room,
            watched: false,
        });
        Ok(Self {
            port,
            input,
            relay,
            counters,
        })
    }

    /// Brings out what is still on its way, at the machine's end.
    pub(crate) fn finish(self) {
        lock(&self.port).flush();
        let dropped = self.counters.dropped_bytes.get();
        let limited = self.counters.rate_limiter_dropped_bytes.get();
        if dropped + limited > 0 {
            tracing::warn!(
                "of what the serial port wrote, {dropped} bytes were dropped because nobody took them, and {limited} because of its rate limiter"
            );
        }
        if let Some(relay) = self.relay {
            relay.finish();
        }
    }
}

/// What somebody types, as the event loop brings it to the port. It is read only as far as the guest takes it, so that a paste is
/// slow and not lost.
#[derive(Debug)]
pub(crate) struct Input {
    port: Arc<Mutex<SerialPort>>,
    /// None at its end.
    file: Option<File>,
    /// Readable when the guest has taken all that it had.
    room: EventFd,
    /// Whether the event loop tells when there is something to read.
    watched: bool,
}

fn lock(port: &Mutex<SerialPort>) -> MutexGuard<'_, SerialPort> {
    port.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why there is nothing more to read.
enum Pause {
    /// The port is full.
    Full,
    /// There is nothing now.
    Empty,
    /// There will never be anything.
    End,
}

impl Input {
    /// Moves what can be moved, and watches the file as long as that makes sense.
    fn feed(&mut self, ops: &mut EventOps<'_>) {
        match self.read() {
            // The guest makes room, which is another event.
            Pause::Full => self.watch(false, ops),
            Pause::Empty => self.watch(true, ops),
            Pause::End => {
                self.watch(false, ops);
                self.file = None;
            }
        }
    }

    fn read(&mut self) -> Pause {
        let mut piece = [0; PIECE];
        loop {
            let room = lock(&self.port).room().min(PIECE);
            let Some(file) = &mut self.file else {
                return Pause::End;
            };
            let Some(piece) = piece.get_mut(..room).filter(|piece| !piece.is_empty()) else {
                return Pause::Full;
            };
            if !is_ready(file) {
                return Pause::Empty;
            }
            match file.read(piece) {
                Ok(0) => return Pause::End,
                Ok(count) => {
                    let typed = piece.get(..count).unwrap_or_default();
                    lock(&self.port).receive(typed);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Pause::Empty,
                Err(error) => {
                    tracing::warn!("the input of the serial port ends: {error}");
                    return Pause::End;
                }
            }
        }
    }

    fn watch(&mut self, watch: bool, ops: &mut EventOps<'_>) {
        let Some(file) = self.file.as_ref().filter(|_| self.watched != watch) else {
            return;
        };
        let events = Events::new_raw(file.as_raw_fd(), EventSet::IN);
        let done = if watch {
            ops.add(events)
        } else {
            ops.remove(events)
        };
        match done {
            Ok(()) => self.watched = watch,
            // A file is always readable and cannot be watched. What is appended to it is read when the guest has read the rest.
            Err(error) => tracing::debug!("the input of the serial port is not watched: {error}"),
        }
    }
}

/// Whether reading will not wait, whatever the descriptor is told.
fn is_ready(file: &File) -> bool {
    let mut fds = [PollFd::new(file, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
}

impl MutEventSubscriber for Input {
    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        if events.fd() == self.room.as_raw_fd() {
            // It says what is looked at next.
            let _ = self.room.read();
        }
        self.feed(ops);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new(&self.room, EventSet::IN)) {
            tracing::warn!("the serial port has no input: {error}");
            return;
        }
        self.feed(ops);
    }
}
