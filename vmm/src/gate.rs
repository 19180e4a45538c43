//! Where vCPUs wait while the machine is paused.
//!
//! Each vCPU passes before it enters the guest. Whoever shuts the gate kicks the vCPUs out of the guest and counts those that came. Those
//! who wait do what they are asked to, each in its own thread, as only they should touch their vCPUs.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvm_ioctls::VcpuFd;

/// What those who wait are asked to do: with the number of the vCPU, and the vCPU.
pub(crate) type Errand = Arc<dyn Fn(u8, &VcpuFd) + Send + Sync>;

/// The gate of one machine.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// That it is not open, for those who pass: a lock would cost them as much as what they came out for.
    shut: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    way: Way,
    /// How many wait.
    waiting: usize,
    /// What they are asked to do.
    errand: Option<Errand>,
    /// Which errand it is, and how many have done it.
    turn: u64,
    done: usize,
}

/// How the gate is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Way {
    #[default]
    Open,
    Shut,
    Closed,
}

/// How it was for one who passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It was open.
    Open,
    /// It was shut, and opened again.
    Reopened,
    /// It is closed for ever.
    Closed,
}

impl Gate {
    /// Whether it is not open.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// Waits while the gate is shut, and calls `run` with what there is to do meanwhile.
    pub(crate) fn pass(&self, run: impl Fn(&Errand)) -> Passage {
        if !self.is_shut() {
            return Passage::Open;
        }
        let mut state = self.lock();
        let waited = state.way == Way::Shut;
        state.waiting += 1;
        self.changed.notify_all();
        let mut seen = 0;
        loop {
            let has_nothing = |state: &mut State| {
                state.way == Way::Shut && (state.errand.is_none() || state.turn == seen)
            };
            let waited_for = self.changed.wait_while(state, has_nothing);
            state = waited_for.unwrap_or_else(PoisonError::into_inner);
            let (turn, errand) = (state.turn, state.errand.clone());
            let Some(errand) = errand.filter(|_| state.way == Way::Shut) else {
                break;
            };
            drop(state);
            run(&errand);
            seen = turn;
            state = self.lock();
            if state.turn == turn {
                state.done += 1;
                self.changed.notify_all();
            }
        }
        state.waiting -= 1;
        match state.way {
            Way::Closed => Passage::Closed,
            _ if waited => Passage::Reopened,
            _ => Passage::Open,
        }
    }

    /// Has all who wait, so many, do something; false if they have not done it in time. One call at a time.
    pub(crate) fn ask_all(&self, count: usize, errand: Errand, patience: Duration) -> bool {
        let mut state = self.lock();
        state.errand = Some(errand);
        state.turn += 1;
        state.done = 0;
        self.changed.notify_all();
        let waited = self
            .changed
            .wait_timeout_while(state, patience, |state| state.done < count);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.errand = None;
        state.done >= count
    }

    /// Waits for something else than the gate. Who does that is out of the guest, and comes to the gate next, so it counts as one
    /// of those who wait here.
    pub(crate) fn aside(&self, wait: impl FnOnce()) {
        self.lock().waiting += 1;
        self.changed.notify_all();
        wait();
        self.lock().waiting -= 1;
    }

    /// Lets nobody pass until it is opened.
    pub(crate) fn shut(&self) {
        self.set(Way::Shut);
    }

    /// Lets everybody pass.
    pub(crate) fn open(&self) {
        self.set(Way::Open);
    }

    /// Turns everybody back.
    pub(crate) fn close(&self) {
        self.set(Way::Closed);
    }

    /// Waits until so many wait before the gate; false if they did not come in time.
    pub(crate) fn await_all(&self, count: usize, patience: Duration) -> bool {
        let state = self.lock();
        let waited = self
            .changed
            .wait_timeout_while(state, patience, |state| state.waiting < count);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting >= count
    }

    fn set(&self, way: Way) {
        let mut state = self.lock();
        // What is closed stays so.
        if state.way != Way::Closed {
            state.way = way;
            self.shut.store(way != Way::Open, Ordering::Release);
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("way", &self.way)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn those_who_come_while_it_is_shut_wait_until_it_opens() {
        let gate = Arc::new(Gate::default());
        assert_eq!(gate.pass(|_| {}), Passage::Open);
        gate.shut();
        let pass = || {
            let gate = gate.clone();
            thread::spawn(move || gate.pass(|_| {}))
        };
        let threads = [pass(), pass()];
        assert!(gate.await_all(2, Duration::from_secs(60)));
        assert!(!gate.await_all(3, Duration::from_millis(1)));
        gate.open();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Passage::Reopened);
        }
        assert_eq!(gate.pass(|_| {}), Passage::Open);
    }

    #[test]
    fn who_waits_for_something_else_stands_still_as_well() {
        let gate = Arc::new(Gate::default());
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let aside = {
            let gate = gate.clone();
            thread::spawn(move || {
                gate.aside(|| wait.recv().unwrap());
                gate.pass(|_| {})
            })
        };
        gate.shut();
        assert!(gate.await_all(1, Duration::from_secs(60)));
        // What it waited for has come, and it is still not in the guest.
        go_on.send(()).unwrap();
        assert!(gate.await_all(1, Duration::from_secs(60)));
        gate.open();
        aside.join().unwrap();
    }

    #[test]
    fn those_who_wait_do_each_thing_once() {
        let gate = Arc::new(Gate::default());
        gate.shut();
        let done = Arc::new(Mutex::new(Vec::new()));
        let threads = [0, 1, 2].map(|number| {
            let (gate, done) = (gate.clone(), done.clone());
            thread::spawn(move || gate.pass(|_| done.lock().unwrap().push(number)))
        });
        let asks = |count, patience| gate.ask_all(count, Arc::new(|_, _| {}), patience);
        for round in 1..=20 {
            assert!(asks(3, Duration::from_secs(60)));
            let mut done = done.lock().unwrap().clone();
            done.sort_unstable();
            assert_eq!(done.len(), 3 * round);
            assert!(
                done.chunks(round)
                    .zip(0..)
                    .all(|(some, number)| some.iter().all(|n| *n == number))
            );
        }
        // One more than there are.
        assert!(!asks(4, Duration::from_millis(1)));
        gate.open();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Passage::Reopened);
        }
    }

    #[test]
    fn what_is_closed_stays_closed() {
        let gate = Gate::default();
        gate.close();
        gate.open();
        assert_eq!(gate.pass(|_| {}), Passage::Closed);
    }
}
