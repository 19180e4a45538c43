//! Signals to the client, which are meant for the program in the container.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// SIGINT.
pub(crate) const INTERRUPT: u8 = 2;
/// SIGWINCH.
pub(crate) const WINDOW_CHANGED: u8 = 28;

/// SIGCONT.
pub(crate) const CONTINUED: u8 = 18;
/// SIGTSTP.
pub(crate) const STOP: u8 = 20;

/// SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGVTALRM, SIGPROF, SIGWINCH,
/// SIGIO, SIGPWR. What stops and continues this process, and what the kernel tells it about itself,
/// is not the program's.
const PASSED: [u8; 13] = [
    1,
    INTERRUPT,
    3,
    6,
    10,
    12,
    14,
    15,
    26,
    27,
    WINDOW_CHANGED,
    29,
    30,
];

/// Signals that came, one after the other.
#[derive(Debug)]
pub(crate) struct Signals(mpsc::UnboundedReceiver<u8>);

impl Signals {
    /// Takes the signals from now on; their default actions no longer happen.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Self::listen_to(&PASSED)
    }

    /// The same with Ctrl-Z, for those who have to put a terminal right before they stop, and to take it again
    /// afterwards.
    pub(crate) fn listen_with_stops() -> anyhow::Result<Self> {
        Self::listen_to(&[&PASSED[..], &[STOP, CONTINUED]].concat())
    }

    fn listen_to(numbers: &[u8]) -> anyhow::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for &number in numbers {
            let mut signal = signal(SignalKind::from_raw(number.into()))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while signal.recv().await.is_some() && sender.send(number).is_ok() {}
            });
        }
        Ok(Self(receiver))
    }

    /// The next signal's number.
    pub(crate) async fn next(&mut self) -> u8 {
        match self.0.recv().await {
            Some(number) => number,
            None => std::future::pending().await,
        }
    }
}
