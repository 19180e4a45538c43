//! Processes beside the container's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use hull_agent_protocol::{Capabilities, CapabilitySet, Place, Start, Stdio, TtySize};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::ended::Ended;
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

/// Those of one container that run, and the last of those that have ended.
#[derive(Debug, Default)]
pub(super) struct Execs {
    known: BTreeMap<String, Exec>,
    ended: Ended,
}

impl Execs {
    pub(super) fn insert(&mut self, exec: Exec) {
        self.known.insert(exec.seen.id.clone(), exec);
    }

    pub(super) fn get(&self, id: &str) -> Option<&Exec> {
        self.known.get(id)
    }

    /// One has ended; others may be forgotten for it.
    pub(super) fn note_end(&mut self, id: &str, code: u8) {
        let Some(exec) = self.known.get_mut(id) else {
            return;
        };
        exec.seen.code = Some(code);
        for forgotten in self.ended.push(id.to_owned(), &exec.seen.spec) {
            self.known.remove(&forgotten);
        }
    }

    /// What a daemon is told of them.
    pub(super) fn seen(&self) -> Vec<ExecSeen> {
        self.known.values().map(|exec| exec.seen.clone()).collect()
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::wire::{Answer, read_line, write_line};

    fn running(id: &str) -> Exec {
        let seen = ExecSeen {
            id: id.to_owned(),
            spec: ExecSpec {
                argv: vec!["/bin/true".to_owned()],
                ..ExecSpec::default()
            },
            pid: 7,
            code: None,
        };
        Exec {
            hub: Arc::new(Hub::new(None, true)),
            requests: mpsc::unbounded_channel().0,
            seen,
        }
    }

    #[tokio::test]
    async fn what_a_daemon_is_told_of_execs_can_be_read_however_many_there_were() {
        let mut execs = Execs::default();
        execs.insert(running("runs"));
        for number in 0..20_000 {
            let id = format!("{number:064}");
            execs.insert(running(&id));
            execs.note_end(&id, 3);
        }
        let last = format!("{:064}", 19_999);
        assert_eq!(execs.get(&last).unwrap().seen.code, Some(3));
        let mut line = Vec::new();
        let told = Answer::Execs(execs.seen());
        write_line(&mut line, &told).await.unwrap();
        let read: Option<Answer> = read_line(&mut line.as_slice()).await.unwrap();
        let Some(Answer::Execs(seen)) = read else {
            panic!("{read:?}");
        };
        assert!(
            seen.iter()
                .any(|one| one.id == "runs" && one.code.is_none())
        );
        assert!(seen.iter().any(|one| one.id == last));
    }
}
