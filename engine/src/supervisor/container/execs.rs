//! The processes that run in a container beside its own.

use std::sync::{Arc, PoisonError};

use super::Container;
use crate::Error;
use crate::container::{Status, random_id};
use crate::owner::ExecSpec;
use crate::owner::wire::ExecSeen;
use crate::supervisor::exec::{Exec, ExecStatus};

impl Container {
    /// Its execs that have not ended.
    #[must_use]
    pub fn execs(&self) -> Vec<String> {
        let Some(supervisor) = self.supervisor.upgrade() else {
            return Vec::new();
        };
        let execs = supervisor.execs();
        let own = execs.values().filter(|exec| exec.container() == self.id);
        own.filter(|exec| !matches!(exec.status(), ExecStatus::Exited { .. }))
            .map(|exec| exec.id().to_owned())
            .collect()
    }

    /// A process to be run in it.
    ///
    /// # Errors
    /// It does not run.
    pub fn create_exec(self: &Arc<Self>, spec: ExecSpec) -> Result<Arc<Exec>, Error> {
        self.check_exec()?;
        let id = random_id().map_err(Error::io("read", "/dev/urandom"))?;
        let command = spec.argv.join(" ");
        let exec = self.know_exec(id.clone(), spec, ExecStatus::Created);
        self.publish(&format!("exec_create: {command}"), [("execID", id)]);
        exec.ok_or(Error::Interrupted)
    }

    /// Whether a process can be run in it.
    pub(in crate::supervisor) fn check_exec(&self) -> Result<(), Error> {
        match self.life.borrow().state.status {
            Status::Running => Ok(()),
            Status::Paused => Err(Error::Paused(self.name(), "exec")),
            _ => Err(Error::NotRunning(self.id.to_string())),
        }
    }

    fn know_exec(
        self: &Arc<Self>,
        id: String,
        spec: ExecSpec,
        status: ExecStatus,
    ) -> Option<Arc<Exec>> {
        let supervisor = self.supervisor.upgrade()?;
        let exec = Arc::new(Exec::new(id.clone(), Arc::clone(self), spec, status));
        supervisor.execs().insert(id, Arc::clone(&exec));
        Some(exec)
    }

    pub(super) fn know_execs(self: &Arc<Self>, execs: &[ExecSeen]) {
        for seen in execs {
            let known = self
                .supervisor
                .upgrade()
                .and_then(|all| all.exec(&seen.id).ok());
            let status = ExecStatus::Running { pid: seen.pid };
            let exec = known.or_else(|| self.know_exec(seen.id.clone(), seen.spec.clone(), status));
            if let (Some(exec), Some(code)) = (exec, seen.code) {
                exec.ended(code);
            }
        }
    }

    pub(super) fn exec_ended(&self, id: &str, code: u8) {
        let supervisor = self.supervisor.upgrade();
        let exec = supervisor.and_then(|supervisor| supervisor.exec(id).ok());
        if let Some(exec) = exec {
            exec.ended(code);
        }
    }

    /// One of its execs has ended; others may be forgotten for it.
    pub(in crate::supervisor) fn note_exec_end(&self, id: &str, spec: &ExecSpec) {
        let mut ended = self
            .ended_execs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let forgotten = ended.push(id.to_owned(), spec);
        drop(ended);
        if let Some(supervisor) = self.supervisor.upgrade() {
            let mut execs = supervisor.execs();
            for id in forgotten {
                execs.remove(&id);
            }
        }
    }

    /// With its machine all of its execs have ended.
    pub(super) fn end_execs(&self) {
        for id in self.execs() {
            self.exec_ended(&id, 137);
        }
    }
}
