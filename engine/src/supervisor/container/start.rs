//! A container's start, what ends that before it has come to anything, and what comes of it in the end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::ends::Order;
use super::owner::Hold;
use super::{Container, Remove};
use crate::container::Status;
use crate::engine::{Origin, WaitFor};
use crate::owner::wire::{Answer, Ask};
use crate::supervisor::link;
use crate::timing::StartedFrom;
use crate::{Error, Exit};

/// The step in which a container gets the process that owns it.
const OWNER: &str = "owner";

/// How to start a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// What its machine may begin as.
    pub origin: Origin,
    /// Whether its end is to tell what the VMM counted.
    pub measure: bool,
    /// The checkpoint of its own that it goes on from; then the machine begins as that.
    pub checkpoint: Option<String>,
}

impl Start {
    fn ask(&self) -> Ask {
        match &self.checkpoint {
            Some(name) => Ask::StartFrom(name.clone()),
            None => Ask::Start {
                origin: self.origin,
                measure: self.measure,
            },
        }
    }
}

/// A container's process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// What its machine began as.
    pub from: StartedFrom,
    /// Where the time went, step by step, in microseconds.
    pub steps: Vec<(String, u64)>,
}

/// A start of which nobody was told yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Untold {
    /// With a machine that was in files.
    goes_on: bool,
}

impl Container {
    /// Starts it, or goes on with it if it is suspended; false if it runs already.
    ///
    /// # Errors
    /// It does not start. With `AutoRemove` it is gone then, unless it is still suspended.
    pub async fn start(self: &Arc<Self>) -> Result<bool, Error> {
        let started = self.start_as(&Start::default()).await?;
        Ok(started.is_some())
    }

    /// Starts it in some way; nothing if it runs already.
    ///
    /// # Errors
    /// As [`start`](Self::start), or there is no such checkpoint.
    pub async fn start_as(self: &Arc<Self>, how: &Start) -> Result<Option<Started>, Error> {
        let turn = self.take_turn().await;
        if self.life.borrow().removed {
            return Err(Error::NotFound(self.id.to_string()));
        }
        if self.life.borrow().state.status == Status::Paused {
            return Err(Error::Paused(self.name(), "start"));
        }
        if self.life.borrow().is_running() {
            return Ok(None);
        }
        match (&how.checkpoint, self.awaits()) {
            (Some(name), _) => drop(self.checkpoints().open(name)?),
            (None, Some(from)) => {
                let supervisor = self.supervisor.upgrade().ok_or(Error::Interrupted)?;
                drop(supervisor.snapshots().follow(&from)?);
            }
            (None, None) => {}
        }
        self.call_off_restart();
        self.ends().order_by_hand();
        let started = self.begin(how).await;
        drop(turn);
        let stays = !self.config().auto_remove || self.life.borrow().is_suspended();
        if started.is_err() && !stays {
            let _ = self.remove(Remove::default()).await;
        }
        started.map(Some)
    }

    /// Starts it, which was ordered, and takes note of how that went. The turn is the caller's.
    pub(super) async fn begin(self: &Arc<Self>, how: &Start) -> Result<Started, Error> {
        let began = Instant::now();
        let supervisor = self.supervisor.upgrade().ok_or(Error::Interrupted)?;
        let started = self.order_start(how).await;
        self.ends().order_is_over();
        match &started {
            Ok(Started { from, steps }) => {
                let took = began.elapsed();
                supervisor.starts().started(&self.id, *from, steps, took);
            }
            Err(_) => supervisor.starts().failed(),
        }
        started
    }

    /// Has its owner start it.
    async fn order_start(self: &Arc<Self>, how: &Start) -> Result<Started, Error> {
        let goes_on = how.checkpoint.is_none() && self.life.borrow().is_suspended();
        let (began, owned) = (Instant::now(), *self.hold.borrow() == Hold::Owner);
        self.have_owner().await?;
        let mut steps = Vec::new();
        if !owned {
            let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            steps.push((OWNER.to_owned(), took));
        }
        let size = *self.size.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((rows, columns)) = size {
            self.ask_resize(None, rows, columns).await?;
        }
        self.measured.store(how.measure, Ordering::Relaxed);
        self.life.send_if_modified(|life| {
            life.metrics = None;
            false
        });
        if !self.ends().pass_on() {
            let _ = link::ask(&self.runtime(), &Ask::Leave).await;
            self.owner_leaves();
            self.at_rest().await;
            return Err(Error::Interrupted);
        }
        self.will_tell(goes_on);
        let answered = link::ask(&self.runtime(), &how.ask()).await;
        let answer = answered.map(|answered| answered.answer);
        match answer {
            Ok(Answer::Started { from, steps: more }) => {
                steps.extend(more);
                self.has_started();
                Ok(Started { from, steps })
            }
            Ok(Answer::Failed(failed)) => {
                self.owner_leaves();
                self.at_rest().await;
                self.refresh();
                Err(Error::Start {
                    message: failed.message,
                    code: failed.code,
                    kind: failed.kind,
                })
            }
            Ok(other) => Err(self.owner_error(format!("it answered {other:?}"))),
            Err(error) => Err(self.owner_error(error.to_string())),
        }
    }

    /// A start is under way of which all are to be told; `goes_on` if its machine was in files.
    pub(super) fn will_tell(&self, goes_on: bool) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        *untold = Some(Untold { goes_on });
    }

    /// Whether a start was ordered, and nobody has heard that its process runs.
    pub(super) fn has_untold_start(&self) -> bool {
        let untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        untold.is_some()
    }

    /// Takes note that its process runs, and tells all, once: whoever had it started hears of it, and whoever listens to its owner, who comes
    /// to know of its end, too. When this returns all were told.
    pub(super) fn has_started(&self) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Untold { goes_on }) = untold.take() else {
            return;
        };
        self.ends().note_start(&self.shelf.directory(&self.id));
        self.refresh();
        self.publish_mounts();
        self.tell_networks(true);
        self.publish("start", []);
        if goes_on {
            self.publish("resume", []);
        }
    }

    /// Ends a start that is under way, which then fails; whether there was one.
    pub(super) async fn interrupt(&self) -> bool {
        let order = self.ends().call_off();
        match order {
            Order::None | Order::Given => false,
            Order::CalledOff => true,
            Order::PassedOn => link::ask(&self.runtime(), &Ask::End).await.is_ok(),
        }
    }

    /// Waits from now on for its next end, and then for what is asked for.
    pub fn ended(&self, what: WaitFor) -> impl Future<Output = Result<Exit, Error>> + Send + use<> {
        let (mut life, mut hold) = (self.life.subscribe(), self.hold.subscribe());
        let (exits, suspends) = {
            let now = life.borrow_and_update();
            (now.exits, now.suspends)
        };
        let auto_remove = self.config().auto_remove;
        async move {
            // The daemon ends before the container does.
            let gone = |_| Error::Interrupted;
            let over = life.wait_for(|life| life.removed || life.exits > exits);
            let exit = {
                let life = over.await.map_err(gone)?;
                Exit {
                    suspended: life.was_put_away(exits, suspends),
                    ..life.exit()
                }
            };
            if what == WaitFor::Exit || exit.suspended {
                return Ok(exit);
            }
            if auto_remove {
                let removed = life.wait_for(|life| life.removed);
                return Ok(removed.await.map_err(gone)?.exit());
            }
            let rests = hold.wait_for(|hold| *hold != Hold::Leaving).await;
            rests.map_err(gone)?;
            Ok(life.borrow().exit())
        }
    }
}
