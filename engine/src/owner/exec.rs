//! Processes beside the container's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use hull_agent_protocol::{Capabilities, CapabilitySet, Place, Start, Stdio, TtySize};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::hub::Hub;
use super::wire::ExecSeen;
use crate::attachment;
use crate::session::{self, Client, Opening, Process, Request, Session, SessionError};
use crate::spec::Merged;

/// A process to be run in a container that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// `NAME=VALUE`, beside what the container's own process has.
    pub env: Vec<String>,
    /// Where; the container's own working directory without it.
    pub cwd: Option<String>,
    /// As whom: `name|uid[:group|gid]`; as the container's own process without it.
    pub user: Option<String>,
    /// On a terminal.
    pub tty: bool,
    /// Whether a client types.
    pub stdin: bool,
    /// Whether a client reads its standard output.
    pub stdout: bool,
    /// Whether a client reads its standard error.
    pub stderr: bool,
    /// With every capability.
    pub privileged: bool,
    /// What a client types on its terminal to leave it, in the API's words; Docker's own keys if it is empty.
    pub detach_keys: String,
}

/// What an exec has from its container.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) merged: Merged,
    pub(super) groups: Vec<String>,
    pub(super) no_new_privileges: bool,
    pub(super) oom_score_adj: i16,
}

impl Base {
    fn start(&self, spec: &ExecSpec, size: Option<(u16, u16)>) -> Start {
        let merged = &self.merged;
        let (rows, columns) = size.unwrap_or_default();
        Start {
            place: Place::Beside,
            argv: spec.argv.clone(),
            env: self.env(spec),
            user: spec.user.clone().unwrap_or_else(|| merged.user.clone()),
            groups: self.groups.clone(),
            cwd: spec.cwd.clone().unwrap_or_else(|| merged.cwd.clone()),
            stdio: match spec.tty {
                true => Stdio::Terminal(TtySize { rows, columns }),
                false => Stdio::Pipes { stdin: spec.stdin },
            },
            rlimits: merged.rlimits.clone(),
            capabilities: match spec.privileged {
                true => Capabilities::of_container(CapabilitySet::ALL),
                false => merged.capabilities,
            },
            no_new_privileges: self.no_new_privileges,
            oom_score_adj: self.oom_score_adj,
        }
    }

    fn env(&self, spec: &ExecSpec) -> Vec<String> {
        let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
        let mut env: Vec<String> = self.merged.env.clone();
        let terminal = Some("TERM=xterm".to_owned()).filter(|_| spec.tty);
        for entry in terminal.iter().chain(&spec.env) {
            env.retain(|known| name(known) != name(entry));
            // A name alone takes the variable away.
            env.extend(Some(entry.clone()).filter(|entry| entry.contains('=')));
        }
        env
    }
}

/// One that was started.
#[derive(Debug)]
pub(super) struct Exec {
    pub(super) hub: Arc<Hub>,
    pub(super) requests: mpsc::UnboundedSender<Request>,
    pub(super) seen: ExecSeen,
}

/// Those of one container, also those that have ended.
pub(super) type Execs = BTreeMap<String, Exec>;

/// An exec whose process runs.
pub(super) struct Started {
    pub(super) session: Session,
    pub(super) exec: Exec,
    pub(super) output: attachment::OutputReader,
}

/// Starts one.
pub(super) async fn start(
    socket: &std::path::Path,
    base: &Base,
    id: String,
    spec: ExecSpec,
    size: Option<(u16, u16)>,
) -> Result<Started, SessionError> {
    let (ours, theirs) = attachment::pair();
    let (requests, receiver) = mpsc::unbounded_channel();
    let stream = session::connect(socket).await?;
    let process = Process::Start(base.start(&spec, size));
    let client = Client {
        attached: theirs,
        requests: receiver,
        early: Vec::new(),
        open_stdin: spec.stdin,
    };
    let mut session = Session::open(stream, Opening::Nothing, process, client)?;
    session.started().await?;
    let input = Some(ours.input).filter(|_| spec.stdin);
    let exec = Exec {
        hub: Arc::new(Hub::new(input, true)),
        requests,
        seen: ExecSeen {
            id,
            pid: session.pid(),
            spec,
            code: None,
        },
    };
    Ok(Started {
        session,
        exec,
        output: ours.output,
    })
}
