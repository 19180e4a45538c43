//! A thread for one device: its own event loop, so that a slow backend stalls nobody else.
//!
//! Whoever wants something of the device asks the lane, and waits for it with a bound. What was not begun in time is withdrawn.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use event_manager::{EventManager, RemoteEndpoint, SubscriberOps};
use hull_devices::MmioTransport;
use hull_vm_api::ExitCause;

use super::Mappings;
use crate::ending::Ending;

/// How long a device may take until it does what it is asked, and how long to do it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Events that the loop takes in one turn.
const EVENTS: usize = 16;

/// The longest name that Linux shows of a thread, in bytes.
const MAX_NAME: usize = 15;

type Endpoint = RemoteEndpoint<Arc<MmioTransport>>;

/// Why a device did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Busy {
    /// It did not begin.
    #[error(
        "it has been waiting for the host's file or disk for more than {} ms; nothing was changed, try again",
        PATIENCE.as_millis()
    )]
    Waits,
    /// It began.
    #[error("it takes more than {} ms, because the host's file or disk is slow; it will be done when that answers", PATIENCE.as_millis())]
    Slow,
}

/// A device's thread.
#[derive(Debug)]
pub(crate) struct Lane {
    endpoint: Endpoint,
    stop: Arc<AtomicBool>,
    /// Closed by the thread's end.
    out: mpsc::Receiver<()>,
}

impl Lane {
    /// Starts the thread of a device, which holds on to what the device works with. If it fails later, the machine ends.
    ///
    /// # Errors
    /// If the host has no thread or no descriptors for it.
    pub(super) fn start(
        name: &str,
        held: (Arc<MmioTransport>, Mappings),
        ending: Arc<Ending>,
    ) -> io::Result<Self> {
        let events = EventManager::new_with_capacity(EVENTS).map_err(io::Error::other)?;
        let mut events: EventManager<Arc<MmioTransport>> = events;
        let endpoint = events.remote_endpoint();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (alive, out) = mpsc::channel::<()>();
        let short = name.get(..MAX_NAME).unwrap_or(name);
        thread::Builder::new()
            .name(short.to_owned())
            .spawn(move || {
                let guard = Unwinding(ending.clone());
                let (transport, mappings) = held;
                events.add_subscriber(transport);
                while !stopped.load(Ordering::Acquire) {
                    if let Err(error) = events.run() {
                        let detail = format!("the event loop of a device failed: {error}");
                        ending.announce_with(ExitCause::Failure, detail);
                        break;
                    }
                }
                drop(events);
                drop(mappings);
                drop(guard);
                drop(alive);
            })?;
        Ok(Self {
            endpoint,
            stop,
            out,
        })
    }

    /// Has the thread do something, and waits for it.
    ///
    /// # Errors
    /// If it takes too long.
    pub(super) fn call<R: Send + 'static>(
        &self,
        act: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Busy> {
        let (sender, receiver) = mpsc::channel();
        let taken = Arc::new(AtomicBool::new(false));
        let take = taken.clone();
        self.fire(move || {
            if !take.swap(true, Ordering::AcqRel) {
                // Who asked may have gone.
                let _ = sender.send(act());
            }
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(result) => Ok(result),
            Err(_) if !taken.swap(true, Ordering::AcqRel) => Err(Busy::Waits),
            Err(_) => receiver.recv_timeout(PATIENCE).map_err(|_| Busy::Slow),
        }
    }

    /// Has the thread do something when it gets to it, behind all that it was asked before.
    pub(super) fn fire(&self, act: impl FnOnce() + Send + 'static) {
        // It fails only when the thread has ended, and the machine with it.
        let _ = self.endpoint.fire(move |_| act());
    }
}

/// The thread ends when it gets to it; it is waited for, but not for ever.
impl Drop for Lane {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.endpoint.kick();
        if self.out.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a device waits for the host's file or disk; ending without it");
        }
    }
}

/// Ends the machine if the thread unwinds: its guest would wait for the device for ever.
struct Unwinding(Arc<Ending>);

impl Drop for Unwinding {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.announce(ExitCause::Failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use hull_devices::rng::{Rng, RngConfig};
    use hull_devices::{Cause, GuestMemory, Interrupt};

    use super::*;

    #[derive(Debug)]
    struct NoInterrupt;

    impl Interrupt for NoInterrupt {
        fn trigger(&self, _cause: Cause) -> io::Result<()> {
            Ok(())
        }
    }

    fn lane() -> Lane {
        let device = Box::new(Rng::new(&RngConfig::default()).unwrap());
        let transport =
            MmioTransport::new(device, GuestMemory::new(), Arc::new(NoInterrupt)).unwrap();
        let held = (Arc::new(transport), Arc::from([]));
        Lane::start("test", held, Arc::new(Ending::new().unwrap())).unwrap()
    }

    #[test]
    fn a_device_that_is_stuck_is_waited_for_with_a_bound() {
        let lane = lane();
        assert_eq!(lane.call(|| 7), Ok(7));
        let (go_on, wait) = mpsc::channel::<()>();
        let slow = lane.call(move || wait.recv().is_ok());
        assert_eq!(slow, Err(Busy::Slow));
        let done = Arc::new(AtomicBool::new(false));
        let doing = done.clone();
        let late = lane.call(move || doing.store(true, Ordering::SeqCst));
        assert_eq!(late, Err(Busy::Waits));
        go_on.send(()).unwrap();
        // What was withdrawn is not done, and the lane is there for others.
        assert_eq!(lane.call(|| 8), Ok(8));
        assert!(!done.load(Ordering::SeqCst));
    }
}
