//! Questions to the agent of a container's machine. One that does not run is started for them, without its container's process, and goes a
//! moment after the last of them: who copies a file asks what it is first.

use std::ops::DerefMut;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hull_agent_protocol::Start;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::Container;
use crate::Error;
use crate::attachment::{self, OutputReader};
use crate::container::Status;
use crate::owner::wire::{Answer, Ask, read_line};
use crate::prepare::Sockets;
use crate::session::inquiry::Inquiry;
use crate::session::{self, Client, Opening, Process, Session, SessionError};
use crate::supervisor::link::{self, Answered};

/// So long a machine that was started for questions waits for another one.
const LINGER: Duration = Duration::from_secs(3);

/// What there is of a container while nobody starts it or removes it. Whoever has the turn is the only one who does.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The connection that keeps its machine, which runs without its process.
    visit: Option<Answered>,
    /// How often there were questions.
    questions: u64,
}

/// The machine of a container, whose agent can be asked while this lives.
#[derive(Debug)]
pub struct Guest {
    container: Arc<Container>,
    vsock: PathBuf,
    /// Of a container that does not run.
    turn: Option<OwnedMutexGuard<Turn>>,
}

impl Guest {
    /// Another channel to the agent.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn inquire(&self) -> Result<Inquiry, Error> {
        Ok(Inquiry::connect(&self.vsock).await?)
    }

    /// Starts a process in a machine that runs without its container's own, as if it was that.
    pub(in crate::supervisor) async fn start(
        &self,
        start: Start,
    ) -> Result<(Session, OutputReader), SessionError> {
        let (ours, theirs) = attachment::pair();
        let (_, requests) = mpsc::unbounded_channel();
        let client = Client {
            attached: theirs,
            requests,
            early: Vec::new(),
            open_stdin: false,
        };
        let stream = session::connect(&self.vsock).await?;
        let process = Process::Start(start);
        let mut session = Session::open(stream, Opening::Nothing, process, client)?;
        session.started().await?;
        Ok((session, ours.output))
    }

    /// Whether the container's process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.turn.is_none()
    }

    /// Ends the machine now if it runs for questions alone.
    pub async fn leave(mut self) {
        if let Some(mut turn) = self.turn.take() {
            self.container.end_visit(&mut turn).await;
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Some(mut turn) = self.turn.take() else {
            return;
        };
        turn.questions += 1;
        let (last, container) = (turn.questions, Arc::clone(&self.container));
        drop(turn);
        tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            let mut turn = container.turn.lock().await;
            if turn.questions == last {
                container.end_visit(&mut turn).await;
            }
        });
    }
}

impl Container {
    /// Waits for the turn to start or remove it, or to take hold of it before its start. No machine of it runs then but that of its process.
    pub(super) async fn take_turn(&self) -> impl DerefMut<Target = Turn> + '_ {
        let mut turn = self.turn.lock().await;
        self.end_visit(&mut turn).await;
        turn
    }

    /// Its machine, to ask its agent, and the first channel to that. One that does not run is started without its process.
    ///
    /// # Errors
    /// It is paused or suspended, or its machine does not come up.
    pub async fn guest(self: &Arc<Self>) -> Result<(Guest, Inquiry), Error> {
        let vsock = Sockets::below(&self.runtime()).vsock;
        let guest = |turn| Guest {
            container: Arc::clone(self),
            vsock: vsock.clone(),
            turn,
        };
        if self.runs_for_questions()? {
            let guest = guest(None);
            let inquiry = guest.inquire().await?;
            return Ok((guest, inquiry));
        }
        let mut turn = Arc::clone(&self.turn).lock_owned().await;
        // It may have been started or removed meanwhile.
        if self.life.borrow().removed {
            return Err(Error::NotFound(self.id.to_string()));
        }
        if self.runs_for_questions()? {
            drop(turn);
            let guest = guest(None);
            let inquiry = guest.inquire().await?;
            return Ok((guest, inquiry));
        }
        if turn.visit.is_some() {
            if let Ok(inquiry) = Inquiry::connect(&vsock).await {
                return Ok((guest(Some(turn)), inquiry));
            }
            self.end_visit(&mut turn).await;
        }
        self.begin_visit(&mut turn, false).await?;
        let guest = guest(Some(turn));
        let inquiry = guest.inquire().await?;
        Ok((guest, inquiry))
    }

    fn runs_for_questions(&self) -> Result<bool, Error> {
        match self.life.borrow().state.status {
            Status::Running => Ok(true),
            Status::Paused => Err(Error::Paused(self.name(), "asking for its files")),
            Status::Suspended => Err(Error::Suspended(self.name())),
            Status::Created | Status::Exited if self.awaits().is_some() => {
                Err(Error::NotBegun(self.name()))
            }
            Status::Created | Status::Exited => Ok(false),
        }
    }

    /// The same for one that does not run and is nobody else's, with its networks.
    pub(in crate::supervisor) async fn wired_guest(
        self: &Arc<Self>,
    ) -> Result<(Guest, Inquiry), Error> {
        let mut turn = Arc::clone(&self.turn).lock_owned().await;
        self.end_visit(&mut turn).await;
        if self.life.borrow().removed {
            return Err(Error::NotFound(self.id.to_string()));
        }
        if self.runs_for_questions()? {
            return Err(Error::Running(self.name()));
        }
        self.begin_visit(&mut turn, true).await?;
        let guest = Guest {
            container: Arc::clone(self),
            vsock: Sockets::below(&self.runtime()).vsock,
            turn: Some(turn),
        };
        let inquiry = guest.inquire().await?;
        Ok((guest, inquiry))
    }

    async fn begin_visit(self: &Arc<Self>, turn: &mut Turn, wired: bool) -> Result<(), Error> {
        self.have_owner().await?;
        let asked = link::ask(&self.runtime(), &Ask::Visit { wired }).await;
        let answered = asked.map_err(|error| self.owner_error(error.to_string()))?;
        match &answered.answer {
            Answer::Done => {
                turn.visit = Some(answered);
                Ok(())
            }
            Answer::Failed(failed) => {
                self.owner_leaves();
                self.at_rest().await;
                // The program of its own that is in the way is none of the client's.
                Err(self.owner_error(failed.message.clone()))
            }
            other => Err(self.owner_error(format!("it answered {other:?}"))),
        }
    }

    /// Ends the machine that runs for questions, if there is one.
    async fn end_visit(&self, turn: &mut Turn) {
        let Some(mut visit) = turn.visit.take() else {
            return;
        };
        let _ = visit.write.shutdown().await;
        if !matches!(read_line(&mut visit.read).await, Ok(Some(Answer::Done))) {
            self.owner_leaves();
        }
    }
}
