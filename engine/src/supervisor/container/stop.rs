//! How a container is brought to its end.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::Container;
use crate::Error;
use crate::container::Status;
use crate::control;
use crate::supervisor::life::WaitCondition;

/// How long a stop waits before it uses force, where nobody says.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a guest may take to end a process by SIGKILL, before its machine is ended.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How to stop a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// The signal that asks it to, 1 to 64; its own without one.
    pub signal: Option<u8>,
    /// How long to wait before force is used; its own time without one.
    pub timeout: Option<Duration>,
}

impl Container {
    /// Stops it, or its start; false if it does not run and is not about to.
    ///
    /// # Errors
    /// Its owner cannot be asked.
    pub async fn stop(self: &Arc<Self>, how: Stop) -> Result<bool, Error> {
        self.ends().note_stop(&self.shelf.directory(&self.id));
        if self.call_off_restart() {
            self.publish("stop", []);
            return Ok(true);
        }
        if !self.life.borrow().is_running() {
            let interrupted = self.interrupt().await;
            if interrupted {
                // Whoever has the turn starts it, which comes to nothing, or had come to something before.
                drop(self.take_turn().await);
            }
            if !self.life.borrow().is_running() {
                if interrupted {
                    self.publish("stop", []);
                }
                return Ok(interrupted);
            }
        }
        let record = self.record();
        let signal = how.signal.unwrap_or(record.stop_signal);
        let patience = how.timeout.or(record.config.stop_timeout);
        let patience = patience.unwrap_or(PATIENCE);
        let ended = self.wait(WaitCondition::NextExit);
        // One whose vCPUs stand still would hear nothing.
        if self.life.borrow().state.status == Status::Paused {
            self.unpause().await?;
        }
        if self.signal(signal).await.is_ok() {
            let patient = tokio::time::timeout(patience, ended).await;
            if patient.is_err() {
                self.end_by_force().await;
            }
        } else {
            self.end_by_force().await;
        }
        self.publish("stop", []);
        Ok(true)
    }

    /// Stops it, if it runs, and starts it again.
    ///
    /// # Errors
    /// As [`stop`](Self::stop) and [`start`](Self::start).
    pub async fn restart(self: &Arc<Self>, how: Stop) -> Result<(), Error> {
        self.ends().note_restart();
        let stopped = self.stop(how).await;
        // It may not have run.
        self.ends().take_restart();
        stopped?;
        self.start().await?;
        self.publish("restart", []);
        Ok(())
    }

    /// Sends a signal, 1 to 64, to its process. SIGKILL returns when it has ended; it ends a start, too.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(self: &Arc<Self>, signal: u8) -> Result<(), Error> {
        let kills = i32::from(signal) == Signal::KILL.as_raw();
        if !self.life.borrow().is_running() {
            return match kills && self.interrupt().await {
                true => Ok(()),
                false => Err(Error::NotRunning(self.id.to_string())),
            };
        }
        if kills || signal == self.record().stop_signal {
            self.ends().note_stop(&self.shelf.directory(&self.id));
        }
        if kills {
            self.publish("kill", [("signal", signal.to_string())]);
            self.end_by_force().await;
            return Ok(());
        }
        let paused = self.life.borrow().state.status == Status::Paused;
        if paused {
            return Err(Error::Paused(self.name(), "kill"));
        }
        self.signal(signal).await
    }

    async fn signal(&self, signal: u8) -> Result<(), Error> {
        self.publish("kill", [("signal", signal.to_string())]);
        let asked = control::ask(&self.runtime(), control::Ask::Signal(signal)).await;
        asked
            .map_err(|error| self.owner_error(error.to_string()))
            .map(drop)
    }

    /// Ends its process; if its guest does not do that, its machine.
    pub(super) async fn end_by_force(&self) {
        let ended = self.wait(WaitCondition::NextExit);
        let runtime = self.runtime();
        let paused = self.life.borrow().state.status == Status::Paused;
        let kill = control::Ask::Signal(9);
        if !self.life.borrow().is_running() {
            return;
        }
        let mut ended = std::pin::pin!(ended);
        if !paused && control::ask(&runtime, kill).await.is_ok() {
            let patient = tokio::time::timeout(KILL_PATIENCE, &mut ended).await;
            if patient.is_ok() {
                return;
            }
        }
        // An owner that does not answer loses its machine all the same.
        if control::ask(&runtime, control::Ask::End).await.is_err()
            && let Some(vmm) = self
                .shelf
                .directory(&self.id)
                .state()
                .ok()
                .and_then(|s| s.vmm)
        {
            vmm.signal(Signal::KILL);
        }
        if self.life.borrow().is_running() {
            let _ = ended.await;
        }
    }
}
