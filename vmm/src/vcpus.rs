//! All vCPUs of a machine, in their threads: started, paused and stopped together, and never waited for without bound.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kvm_ioctls::VcpuFd;

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

/// vCPUs that stand still.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    count: usize,
    gate: Arc<Gate>,
}

impl Waiting {
    /// Has each do something in its own thread, and collects what comes of it, in order.
    ///
    /// # Errors
    /// If one does not do it in time: it waits for a device, most likely.
    pub(crate) fn each<T: Send + 'static>(
        &self,
        act: impl Fn(&VcpuFd) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>, Stuck> {
        let results = Arc::new(Mutex::new(BTreeMap::new()));
        let put = results.clone();
        let errand = move |index, vcpu: &VcpuFd| {
            let result = act(vcpu);
            let mut results = put.lock().unwrap_or_else(PoisonError::into_inner);
            results.insert(index, result);
        };
        if !self.gate.ask_all(self.count, Arc::new(errand), PATIENCE) {
            return Err(Stuck);
        }
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *results).into_values().collect())
    }
}

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

    /// How many there are, and where they wait.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting {
            count: self.threads.len(),
            gate: self.gate.clone(),
        }
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
