//! Where a container is in its life, and those who wait for something in it.

use tokio::sync::watch;

use crate::container::{State, Status};
use crate::{Error, Exit};

/// The exit code of a container whose machine was ended.
const KILLED: u8 = 137;

/// What is known of a container's life.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Life {
    pub(super) state: State,
    /// How often it has ended, or was suspended, since the daemon knows it.
    pub(super) exits: u64,
    /// How often it was suspended, which is no end to those who wait for one.
    pub(super) suspends: u64,
    /// It has ended and is about to be started again.
    pub(super) restarting: bool,
    /// How often it was started again.
    pub(super) restarts: u32,
    pub(super) removed: bool,
    /// What its VMM counted, if somebody wanted to know that and it has ended.
    pub(super) metrics: Option<serde_json::Value>,
}

impl Life {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state.status, Status::Running | Status::Paused)
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.state.status == Status::Suspended
    }

    /// Whether it is suspended, or was and did not end, since it had ended, and was suspended, so often. It may have gone on before
    /// anybody looked.
    pub(super) fn was_put_away(&self, exits: u64, suspends: u64) -> bool {
        let (exits, suspends) = (self.exits - exits, self.suspends - suspends);
        !self.removed && (self.is_suspended() || (exits > 0 && exits == suspends))
    }

    /// How it ended.
    pub(super) fn exit(&self) -> Exit {
        Exit {
            code: self.state.exit_code.unwrap_or(0),
            oom_killed: self.state.oom_killed,
            error: self.state.error.clone(),
            suspended: self.is_suspended(),
            metrics: self.metrics.clone(),
        }
    }

    fn waited(&self, suspended: bool) -> Waited {
        // One that is removed while it is suspended loses its machine then.
        let code = if self.is_suspended() { KILLED } else { 0 };
        Waited {
            code: self.state.exit_code.unwrap_or(code),
            error: self.state.error.clone(),
            suspended,
        }
    }
}

/// What to wait for. A suspend ends all waits, though it is no end of the container: whoever waits may be attached, and is so no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run, and perhaps never did.
    NotRunning,
    /// It ends the next time.
    NextExit,
    /// It is no more.
    Removed,
}

/// How a container was when waiting was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Its exit code; 0 if it never ran.
    pub code: u8,
    /// What went wrong beside its process.
    pub error: String,
    /// It did not end: it is suspended.
    pub suspended: bool,
}

/// Waits from now on.
pub(super) fn wait(
    mut life: watch::Receiver<Life>,
    condition: WaitCondition,
) -> impl Future<Output = Result<Waited, Error>> + Send + 'static {
    let (exits, suspends) = {
        let now = life.borrow_and_update();
        (now.exits, now.suspends)
    };
    async move {
        let reached = life.wait_for(|life| {
            let reached = match condition {
                WaitCondition::NotRunning => !(life.is_running() || life.restarting),
                WaitCondition::NextExit => life.exits > exits,
                WaitCondition::Removed => life.suspends > suspends,
            };
            life.removed || reached
        });
        // The daemon ends.
        let life = reached.await.map_err(|_| Error::Interrupted)?;
        let mut waited = life.waited(match condition {
            WaitCondition::NotRunning => life.is_suspended() && !life.removed,
            _ => life.was_put_away(exits, suspends),
        });
        if condition == WaitCondition::Removed {
            // What went wrong before is told by whoever asked for that.
            waited.error.clear();
        }
        Ok(waited)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use jiff::Timestamp;

    use super::*;

    fn running() -> watch::Sender<Life> {
        let mut state = State::created(Timestamp::now());
        state.status = Status::Running;
        watch::Sender::new(Life {
            state,
            exits: 0,
            suspends: 0,
            restarting: false,
            restarts: 0,
            removed: false,
            metrics: None,
        })
    }

    fn suspend(life: &watch::Sender<Life>) {
        life.send_modify(|life| {
            life.state.suspended(Timestamp::now());
            life.exits += 1;
            life.suspends += 1;
        });
    }

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_suspend_ends_all_waits_and_is_no_end() {
        use WaitCondition::{NextExit, NotRunning, Removed};
        let life = running();
        let all = [NotRunning, NextExit, Removed];
        let waiting = all.map(|condition| wait(life.subscribe(), condition));
        suspend(&life);
        for waiting in waiting {
            assert!(now(waiting).unwrap().unwrap().suspended);
        }
        let waiting = wait(life.subscribe(), NotRunning);
        assert!(now(waiting).unwrap().unwrap().suspended);
        for condition in [NextExit, Removed] {
            assert!(now(wait(life.subscribe(), condition)).is_none());
        }
    }

    #[test]
    fn its_process_s_end_is_none_of_a_suspend() {
        let life = running();
        let waiting = wait(life.subscribe(), WaitCondition::NotRunning);
        suspend(&life);
        life.send_modify(|life| life.state.status = Status::Running);
        life.send_modify(|life| {
            life.state.exited(3, Timestamp::now());
            life.exits += 1;
        });
        let waited = now(waiting).unwrap().unwrap();
        assert_eq!((waited.code, waited.suspended), (3, false));
    }

    #[test]
    fn one_that_goes_on_before_anybody_looked_was_suspended_all_the_same() {
        let life = running();
        let waiting = wait(life.subscribe(), WaitCondition::NextExit);
        suspend(&life);
        life.send_modify(|life| life.state.status = Status::Running);
        assert!(now(waiting).unwrap().unwrap().suspended);
    }

    #[test]
    fn one_that_is_removed_while_it_is_suspended_was_killed() {
        let life = running();
        suspend(&life);
        let waiting = wait(life.subscribe(), WaitCondition::NotRunning);
        life.send_modify(|life| life.removed = true);
        let waited = now(waiting).unwrap().unwrap();
        assert_eq!((waited.code, waited.suspended), (137, false));
    }
}
