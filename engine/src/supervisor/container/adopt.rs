//! How a daemon takes up a container that was there before it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::guest::Turn;
use super::owner::Hold;
use super::{Container, Remove};
use crate::Error;
use crate::container::Status;
use crate::owner::wire::{Answer, Ask};
use crate::snapshot::SnapshotRef;
use crate::supervisor::life::Life;
use crate::supervisor::link::{self, Answered};
use crate::supervisor::restart::{forgets_stop, is_due};

impl Container {
    /// Takes up a container that was there before the daemon.
    pub(in crate::supervisor) async fn adopt(self: &Arc<Self>) -> Result<(), Error> {
        let watched = link::ask(&self.runtime(), &Ask::Watch).await;
        if !watched.as_ref().is_err_and(link::is_gone) {
            self.take_over(watched).await;
            return Ok(());
        }
        let recovered = self.put_in_order(|_| {}).await;
        recovered.map_err(Error::io("put in order", self.path()))?;
        self.refresh();
        self.forget_stop();
        self.go_on_from_rest().await
    }

    /// Takes it over from the daemon that was there before, with its owner.
    async fn take_over(self: &Arc<Self>, watched: io::Result<Answered>) {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        self.hold.send_replace(Hold::Owner);
        self.refresh();
        self.note_told();
        let (runs, is_suspended) = {
            let life = self.life.borrow();
            (life.is_running(), life.is_suspended())
        };
        let container = Arc::clone(self);
        match watched {
            Ok(watched) => {
                // Its owner may be about to start it.
                self.will_tell(is_suspended);
                if let Answer::Execs(execs) = &watched.answer {
                    self.know_execs(execs);
                }
                if !runs {
                    self.forget_stop();
                    self.ends().pass_on();
                    self.owner_leaves();
                    tokio::spawn(Arc::clone(self).settle(turn));
                }
                tokio::spawn(container.watch(watched));
            }
            Err(error) => {
                self.warn_unheard(&error);
                tokio::spawn(async move { container.owner_gone().await });
            }
        }
    }

    /// Waits for what becomes of a container that has an owner and does not run: nobody who would have it started is there any more, unless it
    /// is being started already, or it has ended and its machine powers off.
    async fn settle(self: Arc<Self>, turn: OwnedMutexGuard<Turn>) {
        let mut life = self.life.subscribe();
        let known = |life: &Life| life.is_running() || life.exits > 0;
        // One that is gone is at rest soon.
        let _ = link::ask(&self.runtime(), &Ask::Leave).await;
        tokio::select! {
            _ = life.wait_for(known) => {}
            () = self.at_rest() => {}
        }
        self.ends().order_is_over();
        drop(turn);
        // Whoever took note of its end has seen to what comes next.
        if known(&self.life.borrow()) {
            return;
        }
        if let Err(error) = self.go_on_from_rest().await {
            tracing::error!(container = %self.id, %error, "a container was not taken up");
        }
    }

    /// What a user stopped before may be started with the daemon; what is stopped from now on is not.
    fn forget_stop(&self) {
        if forgets_stop(self.config().restart) {
            self.ends().forget_stop();
        }
    }

    /// Nobody has it: sees to what the daemon before did not come to.
    async fn go_on_from_rest(self: &Arc<Self>) -> Result<(), Error> {
        let state = self.state();
        if state.status == Status::Created {
            self.make_volumes().await?;
        }
        // Nobody is left who would start the child of a fork.
        let is_unborn = matches!(self.awaits(), Some(SnapshotRef::Fork(_)));
        if is_unborn || (self.config().auto_remove && state.status != Status::Suspended) {
            return self.remove(Remove::default()).await;
        }
        let mut ends = self.ends();
        let code = state.exit_code.unwrap_or(0);
        let policy = self.config().restart;
        let due = state.status == Status::Exited
            && is_due(policy, code, ends.is_stopped(), ends.restarts());
        if due {
            let token = CancellationToken::new();
            ends.waiting = Some(token.clone());
            self.life.send_modify(|life| life.restarting = true);
            tokio::spawn(Arc::clone(self).start_again(Duration::ZERO, token));
        }
        Ok(())
    }
}
