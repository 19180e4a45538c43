//! The time before a program runs, in which a signal means that it is not to run at all.

use std::future::Future;
use std::time::Duration;

use bollard::query_parameters::KillContainerOptionsBuilder;
use tokio::time::{MissedTickBehavior, interval};

use super::{Program, Session};
use crate::attach::signals::{CONTINUED, STOP, WINDOW_CHANGED};

/// A start that is to end may not have reached the daemon yet, so that it is tried so often.
const AGAIN: Duration = Duration::from_millis(100);

/// It ends a start, too.
const KILL: &str = "KILL";

/// What came of a start.
#[derive(Debug)]
pub(crate) enum Begun<T> {
    /// It went to its end, well or not.
    Done(anyhow::Result<T>),
    /// This signal came first.
    Stopped {
        signal: u8,
        /// It runs all the same, if only for a moment.
        runs: bool,
    },
}

impl Session<'_> {
    /// Waits for the start of the program. A signal ends that, unless signals are not passed on: then only this command ends.
    pub(crate) async fn begin<T>(
        &mut self,
        start: impl Future<Output = anyhow::Result<T>>,
    ) -> Begun<T> {
        tokio::pin!(start);
        let mut stopped = None;
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = loop {
            tokio::select! {
                started = &mut start => break started,
                signal = self.signals.next() => match signal {
                    WINDOW_CHANGED | CONTINUED | STOP => {
                        self.signal(signal).await;
                    }
                    signal if !self.options.sig_proxy => return Begun::Stopped { signal, runs: false },
                    signal => stopped = Some(signal),
                },
                _ = again.tick(), if stopped.is_some() => self.tell(KILL).await,
            }
        };
        let Some(signal) = stopped else {
            return Begun::Done(started);
        };
        let runs = started.is_ok();
        if runs {
            // It was faster.
            self.tell(KILL).await;
        }
        Begun::Stopped { signal, runs }
    }

    /// How many interrupts came.
    pub(crate) fn interrupts(&self) -> u32 {
        self.interrupts
    }

    /// Sends the program a signal. It is no error that it does not run.
    pub(crate) async fn tell(&self, signal: &str) {
        if let Program::Container(id) = &self.program {
            let how = KillContainerOptionsBuilder::new().signal(signal).build();
            if let Err(error) = self.daemon.docker().kill_container(id, Some(how)).await {
                tracing::debug!(%error, signal, "a signal was not passed on");
            }
        }
    }
}
