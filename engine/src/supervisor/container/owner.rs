//! A container's owner, from its start to what comes after its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Container, Remove, Start};
use crate::container::{Directory, State, Status};
use crate::owner::wire::{Answer, Ask, Happening, read_line};
use crate::supervisor::link::{self, Answered};
use crate::supervisor::networks;
use crate::supervisor::restart::is_due;
use crate::{Error, ending, wired};

/// Who has a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nobody: it is at rest.
    Nobody,
    /// An owner that can be told to start it, or has.
    Owner,
    /// An owner of whose container nothing more will come: it ends its machine, and goes.
    Leaving,
}

impl Hold {
    /// An owner leaves; false if it has gone already, or nobody had it.
    ///
    /// Who hears of the end from the owner may be later than who sees that the owner is gone, and is not to wait for that again.
    fn leave(&mut self) -> bool {
        let leaves = *self == Self::Owner;
        if leaves {
            *self = Self::Leaving;
        }
        leaves
    }

    /// One that was taken for leaving does not: its container runs.
    fn stay(&mut self) -> bool {
        let stays = *self == Self::Leaving;
        if stays {
            *self = Self::Owner;
        }
        stays
    }
}

impl Container {
    /// Sees to it that it has an owner which can be asked. The turn is the caller's.
    pub(super) async fn have_owner(self: &Arc<Self>) -> Result<(), Error> {
        if *self.hold.borrow() == Hold::Owner {
            return Ok(());
        }
        self.at_rest().await;
        let supervisor = self.supervisor.upgrade().ok_or(Error::Interrupted)?;
        let mut child = link::spawn(&supervisor.program, &supervisor.paths, &self.id).await?;
        tokio::spawn(async move { child.wait().await });
        let answered = link::ask(&self.runtime(), &Ask::Watch).await;
        let watched = answered.map_err(|error| self.owner_error(error.to_string()))?;
        self.hold.send_replace(Hold::Owner);
        tokio::spawn(Arc::clone(self).watch(watched));
        Ok(())
    }

    /// Takes note that its owner has said its last word.
    pub(super) fn owner_leaves(&self) {
        self.hold.send_if_modified(Hold::leave);
    }

    /// Waits until nobody has it.
    pub(super) async fn at_rest(&self) {
        let mut hold = self.hold.subscribe();
        // The sender is `self`'s.
        let _ = hold.wait_for(|hold| *hold == Hold::Nobody).await;
    }

    /// Takes note of what its state on the disk says.
    pub(super) fn refresh(&self) {
        let directory = self.shelf.directory(&self.id);
        self.life.send_if_modified(|life| {
            // Read here: of two at once the one that comes last has read last.
            let Ok(state) = directory.state() else {
                return false;
            };
            let is_new = life.state != state;
            life.state = state;
            is_new
        });
    }

    /// Listens to its owner until that is gone.
    pub(super) async fn watch(self: Arc<Self>, mut watched: Answered) {
        loop {
            match read_line(&mut watched.read).await {
                Ok(Some(Happening::Started)) => {
                    self.hold.send_if_modified(Hold::stay);
                    self.has_started();
                }
                Ok(Some(Happening::Exited)) => {
                    self.hold.send_replace(Hold::Leaving);
                    self.exited();
                }
                Ok(Some(Happening::ExecExited { id, code })) => self.exec_ended(&id, code),
                Ok(Some(Happening::Health(status))) => {
                    self.publish(&format!("health_status: {}", status.as_str()), []);
                }
                // Gone, or there was too much for this connection.
                Ok(None) | Err(_) => match link::ask(&self.runtime(), &Ask::Watch).await {
                    Ok(again) => {
                        if let Answer::Execs(execs) = &again.answer {
                            self.know_execs(execs);
                        }
                        watched = again;
                    }
                    Err(error) => {
                        if !link::is_gone(&error) {
                            self.warn_unheard(&error);
                        }
                        break;
                    }
                },
            }
        }
        self.owner_gone().await;
    }

    /// Waits until nobody owns it, and has what its owner left put in order, `first` of all by this. All of it may block.
    pub(super) async fn put_in_order(
        &self,
        first: impl FnOnce(&Directory) + Send + 'static,
    ) -> io::Result<()> {
        let (shelf, id) = (self.shelf.clone(), self.id.clone());
        let done = tokio::task::spawn_blocking(move || {
            let directory = shelf.directory(&id);
            directory.wait_released()?;
            first(&directory);
            shelf.recover_one(&id).map(drop)
        });
        done.await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    pub(super) fn warn_unheard(&self, error: &io::Error) {
        tracing::warn!(
            container = %self.id, %error,
            "a container's owner does not say what happens, and only its end will be noticed"
        );
    }

    /// Waits until its owner is gone, and sees to what that left.
    pub(super) async fn owner_gone(self: &Arc<Self>) {
        let supervisor = self.supervisor.upgrade();
        let never_started = self.has_untold_start();
        let recovered = self.put_in_order(move |directory| {
            // One that ends by itself leaves its networks before. One that was killed may not have noted yet that it had come to them.
            if let Some(supervisor) = supervisor
                && (never_started || !wired::connected(directory.path()).is_empty())
            {
                networks::recover(supervisor.networks());
            }
        });
        if let Err(error) = recovered.await {
            tracing::error!(container = %self.id, %error, "a container was not put in order");
        }
        if self.measured.swap(false, Ordering::Relaxed) {
            let metrics = ending::metrics(&self.shelf.directory(&self.id));
            self.life.send_if_modified(|life| {
                life.metrics = metrics;
                false
            });
        }
        let ran = self.life.borrow().is_running();
        self.end_execs();
        if ran {
            // It was killed.
            self.exited();
        } else {
            self.refresh();
        }
        self.hold.send_replace(Hold::Nobody);
    }

    /// Its process has ended, or its machine: tells so, and sees to what comes next.
    fn exited(self: &Arc<Self>) {
        let Ok(state) = self.shelf.directory(&self.id).state() else {
            return;
        };
        if state.status == Status::Suspended {
            // No end: nothing is started again, and nothing goes.
            self.publish("suspend", []);
            self.publish_unmounts();
            self.tell_networks(false);
            self.life.send_modify(|life| {
                life.state = state;
                life.exits += 1;
                life.suspends += 1;
            });
            return;
        }
        let code = state.exit_code.unwrap_or(0);
        if state.oom_killed {
            self.publish("oom", []);
        }
        let ran = ran_for(&state);
        let more = [
            ("exitCode", code.to_string()),
            ("execDuration", ran.as_secs().to_string()),
        ];
        self.publish("die", more);
        self.publish_unmounts();
        self.tell_networks(false);
        let mut ends = self.ends();
        let by_restart = ends.take_restart();
        let policy = self.config().restart;
        let again = !by_restart && is_due(policy, code, ends.is_stopped(), ends.restarts());
        let wait = again.then(|| {
            ends.note_again();
            let token = CancellationToken::new();
            ends.waiting = Some(token.clone());
            (ends.back_off.next(ran), token)
        });
        let restarts = ends.restarts();
        // Whoever calls that off finds that it is to be started again.
        self.life.send_modify(|life| {
            life.state = state;
            life.exits += 1;
            life.restarting = again;
            life.restarts = restarts;
        });
        drop(ends);
        match wait {
            Some((wait, token)) => drop(tokio::spawn(Arc::clone(self).start_again(wait, token))),
            None if self.config().auto_remove && !by_restart => {
                let container = Arc::clone(self);
                tokio::spawn(async move {
                    if let Err(error) = container.remove(Remove::default()).await {
                        tracing::error!(container = %container.id, %error, "a container was not removed");
                    }
                });
            }
            None => {}
        }
    }

    /// Ends the wait for another start; whether there was any.
    pub(super) fn call_off_restart(&self) -> bool {
        let mut ends = self.ends();
        let Some(token) = ends.waiting.take() else {
            return false;
        };
        token.cancel();
        drop(ends);
        self.life
            .send_if_modified(|life| std::mem::take(&mut life.restarting))
    }

    pub(super) async fn start_again(
        self: Arc<Self>,
        wait: Duration,
        called_off: CancellationToken,
    ) {
        tokio::select! {
            () = called_off.cancelled() => return,
            () = async {
                self.at_rest().await;
                tokio::time::sleep(wait).await;
            } => {}
        }
        let _turn = self.take_turn().await;
        if !self.order_again(&called_off) {
            return;
        }
        let begun = self.begin(&Start::default()).await;
        self.life
            .send_if_modified(|life| std::mem::take(&mut life.restarting));
        if let Err(error) = begun {
            tracing::warn!(container = %self.id, %error, "a container was not started again");
        }
    }

    /// Orders its start, which was waited for; false if it was called off, or there is nothing to start. The turn is the caller's.
    fn order_again(&self, called_off: &CancellationToken) -> bool {
        let rests = {
            let life = self.life.borrow();
            !(life.removed || life.is_running())
        };
        let mut ends = self.ends();
        if called_off.is_cancelled() {
            return false;
        }
        if rests {
            ends.order_again();
        } else {
            drop(ends);
            self.call_off_restart();
        }
        rests
    }
}

fn ran_for(state: &State) -> Duration {
    let (Some(started), Some(finished)) = (state.started, state.finished) else {
        return Duration::ZERO;
    };
    duration(started, finished)
}

fn duration(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Hold;

    #[test]
    fn an_owner_that_has_gone_leaves_no_more() {
        let mut hold = Hold::Owner;
        assert!(hold.leave());
        assert_eq!(hold, Hold::Leaving);
        hold = Hold::Nobody;
        assert!(!hold.leave());
        assert_eq!(hold, Hold::Nobody);
    }
}
