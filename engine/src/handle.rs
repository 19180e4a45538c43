//! The engine's hold on a container that this process runs: what can be asked of it and what it
//! says about itself.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::attachment::Attached;
use crate::errand::{Errand, What};
use crate::plan::Plan;
use crate::session::Request;

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// As Docker gives it: the process's status, 128 and the number of the signal that ended it, or
    /// 137 when its microVM ended under it.
    pub code: u8,
    /// Whether the guest's kernel killed the process for lack of memory.
    pub oom_killed: bool,
    /// What went wrong beside the process; empty for a plain end.
    pub error: String,
    /// It did not end: its machine is in files.
    pub suspended: bool,
    /// What the VMM counted, where [`Engine::measure`](crate::Engine::measure) asked for it.
    pub metrics: Option<serde_json::Value>,
}

/// Where a container is, as those who wait see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Waiting,
    /// The process ended, its output was passed on, the state is written.
    Exited(Exit),
    /// Its machine is gone too, and with `--rm` the container.
    Settled(Exit),
}

/// One container of this process.
#[derive(Debug)]
pub(crate) struct Handle {
    /// Taken by the start.
    pub(crate) pending: Mutex<Option<Pending>>,
    pub(crate) requests: mpsc::UnboundedSender<Request>,
    pub(crate) errands: mpsc::UnboundedSender<Errand>,
    pub(crate) phase: watch::Sender<Phase>,
    /// Ends the machine, whatever it does.
    pub(crate) kill: CancellationToken,
    /// Whether somebody wants to know what the VMM counted.
    pub(crate) measured: AtomicBool,
}

/// What the start takes.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) plan: Plan,
    pub(crate) attached: Option<Attached>,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) errands: mpsc::UnboundedReceiver<Errand>,
}

impl Handle {
    pub(crate) fn new(plan: Plan) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let (errands, for_running) = mpsc::unbounded_channel();
        Self {
            pending: Mutex::new(Some(Pending {
                plan,
                attached: None,
                requests: receiver,
                errands: for_running,
            })),
            requests,
            errands,
            phase: watch::Sender::new(Phase::Waiting),
            kill: CancellationToken::new(),
            measured: AtomicBool::new(false),
        }
    }

    /// Has something done to the running container; how long it stood still for that.
    pub(crate) async fn run(&self, what: What) -> Result<Duration, String> {
        let (done, outcome) = oneshot::channel();
        let gone = || "the container does not run any more".to_owned();
        self.errands
            .send(Errand { what, done })
            .map_err(|_| gone())?;
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }
}
