//! All vCPUs of a machine, in their threads: started, paused and stopped together, and never waited for without bound.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::StartError;
use crate::gate::Gate;
use crate::kick;
use crate::sandbox::Confinement;
use crate::vcpu::Vcpu;

/// How long vCPUs may take to come out of the guest. On a busy host one does not run for a while.
const PATIENCE: Duration = Duration::from_millis(500);

/// A vCPU did not come out of the guest in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a vCPU did not stand still within {} ms: the host is busy, or a device is; the microVM runs on",
    PATIENCE.as_millis()
)]
pub(crate) struct Stuck;

/// The threads of all vCPUs.
#[derive(Debug)]
pub(crate) struct Vcpus {
    threads: Vec<JoinHandle<()>>,
    gate: Arc<Gate>,
    /// Nothing is ever sent: the last thread to end closes the channel.
    all_out: mpsc::Receiver<()>,
}

impl Vcpus {
    /// Starts them.
    ///
    /// # Errors
    /// If the host has no threads for them. Those that run already are stopped.
    pub(crate) fn start(
        vcpus: Vec<Vcpu>,
        gate: Arc<Gate>,
        confinement: &Confinement,
    ) -> Result<Self, StartError> {
        kick::prepare();
        let (alive, all_out) = mpsc::channel();
        let mut started = Self {
            threads: Vec::new(),
            gate,
            all_out,
        };
        for vcpu in vcpus {
            match vcpu.start(alive.clone(), confinement.clone()) {
                Ok(thread) => started.threads.push(thread),
                Err(error) => {
                    drop(alive);
                    started.stop();
                    return Err(StartError::host("a thread for a vCPU")(error));
                }
            }
        }
        Ok(started)
    }

    /// Gets all vCPUs out of the guest and has them wait.
    ///
    /// # Errors
    /// If one does not come out in time. All run on then.
    pub(crate) fn pause(&self) -> Result<(), Stuck> {
        self.gate.shut();
        self.kick();
        if self.gate.await_all(self.threads.len(), PATIENCE) {
            return Ok(());
        }
        self.gate.open();
        Err(Stuck)
    }

    /// Lets them enter the guest again.
    pub(crate) fn resume(&self) {
        self.gate.open();
    }

    /// Gets all vCPUs out of the guest and waits for their threads, but not for ever; whether all have ended.
    pub(crate) fn stop(self) -> bool {
        self.gate.close();
        self.kick();
        match self.all_out.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("a vCPU does not stop; ending without it");
                false
            }
            _ => {
                for thread in self.threads {
                    let _ = thread.join();
                }
                true
            }
        }
    }

    fn kick(&self) {
        for thread in &self.threads {
            // It fails only for a thread that has ended.
            let _ = kick::kick(thread);
        }
    }
}
