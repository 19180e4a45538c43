//! Processes that clients run in containers beside the containers' own.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::container::Container;
use super::link;
use super::streams::Streams;
use crate::Error;
use crate::container::ContainerId;
use crate::owner::wire::{Answer, Ask};
use crate::owner::{Attach, ExecSpec};

/// One of them.
#[derive(Debug)]
pub struct Exec {
    id: String,
    container: Arc<Container>,
    spec: ExecSpec,
    status: watch::Sender<ExecStatus>,
    /// The size of its terminal, if it was told before the start.
    size: Mutex<Option<(u16, u16)>>,
}

/// Where an exec is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecStatus {
    /// Not started.
    Created,
    /// Being started.
    Starting,
    /// Its process runs.
    Running {
        /// Its number in the guest.
        pid: u32,
    },
    /// Its process has ended, or could not be started.
    Exited {
        /// As Docker gives it.
        code: u8,
    },
}

impl Exec {
    pub(super) fn new(
        id: String,
        container: Arc<Container>,
        spec: ExecSpec,
        status: ExecStatus,
    ) -> Self {
        Self {
            id,
            container,
            spec,
            status: watch::Sender::new(status),
            size: Mutex::default(),
        }
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it runs.
    #[must_use]
    pub fn container(&self) -> ContainerId {
        self.container.id().clone()
    }

    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &ExecSpec {
        &self.spec
    }

    /// Where it is in its life.
    #[must_use]
    pub fn status(&self) -> ExecStatus {
        *self.status.borrow()
    }

    /// Starts it, once; with its streams, if somebody wants them. Its exit code is known before they end.
    ///
    /// # Errors
    /// It was started before, its container does not run, or its program cannot be run.
    pub async fn start(
        &self,
        attach: Option<Attach>,
        size: Option<(u16, u16)>,
    ) -> Result<Option<Streams>, Error> {
        self.container.check_exec()?;
        let begun = self.status.send_if_modified(|status| {
            let may = *status == ExecStatus::Created;
            if may {
                *status = ExecStatus::Starting;
            }
            may
        });
        if !begun {
            return Err(Error::ExecStarted(self.id.clone()));
        }
        let command = self.spec.argv.join(" ");
        self.container.publish(
            &format!("exec_start: {command}"),
            [("execID", self.id.clone())],
        );
        let known = *self.size.lock().unwrap_or_else(PoisonError::into_inner);
        let ask = Ask::Exec {
            id: self.id.clone(),
            spec: Box::new(self.spec.clone()),
            size: size.or(known),
            attach,
        };
        let answered = link::ask(&self.container.runtime(), &ask).await;
        let answered = match answered {
            Ok(answered) => answered,
            Err(error) => {
                self.ended(126);
                return Err(self.container.owner_error(error.to_string()));
            }
        };
        match &answered.answer {
            Answer::Runs(pid) => {
                self.started(*pid);
                let mut status = self.status.subscribe();
                let gate = async move {
                    let _ = status
                        .wait_for(|status| matches!(status, ExecStatus::Exited { .. }))
                        .await;
                };
                Ok(attach.map(|_| Streams::new(answered, Box::pin(gate))))
            }
            Answer::Failed(failed) => {
                self.ended(failed.code);
                Err(Error::Start {
                    message: failed.message.clone(),
                    code: failed.code,
                    kind: failed.kind,
                })
            }
            other => {
                self.ended(126);
                Err(self.container.owner_error(format!("it answered {other:?}")))
            }
        }
    }

    fn started(&self, pid: u32) {
        self.status.send_if_modified(|status| {
            // Its end may have been heard of already.
            let is_new = *status == ExecStatus::Starting;
            if is_new {
                *status = ExecStatus::Running { pid };
            }
            is_new
        });
    }

    /// Its process has ended.
    pub(super) fn ended(&self, code: u8) {
        let is_new = self.status.send_if_modified(|status| {
            let is_new = !matches!(status, ExecStatus::Exited { .. });
            *status = ExecStatus::Exited { code };
            is_new
        });
        if is_new {
            let more = [("execID", self.id.clone()), ("exitCode", code.to_string())];
            self.container.publish("exec_die", more);
            self.container.note_exec_end(&self.id, &self.spec);
        }
    }

    /// Tells its terminal its size, before the start or later.
    ///
    /// # Errors
    /// It has ended.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), Error> {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = Some((rows, columns));
        match self.status() {
            ExecStatus::Created => Ok(()),
            ExecStatus::Exited { .. } => Err(Error::ExecEnded(self.id.clone())),
            ExecStatus::Starting | ExecStatus::Running { .. } => {
                self.container
                    .ask_resize(Some(self.id.clone()), rows, columns)
                    .await
            }
        }
    }
}
