//! Where vCPUs wait while the machine is paused.
//!
//! Each vCPU passes before it enters the guest. Whoever shuts the gate kicks the vCPUs out of the guest and counts those that came.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The gate of one machine.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// That it is not open, for those who pass: a lock would cost them as much as what they came out for.
    shut: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    way: Way,
    /// How many wait.
    waiting: usize,
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
    /// Waits while the gate is shut.
    pub(crate) fn pass(&self) -> Passage {
        if !self.shut.load(Ordering::Acquire) {
            return Passage::Open;
        }
        let mut state = self.lock();
        let waited = state.way == Way::Shut;
        state.waiting += 1;
        self.changed.notify_all();
        let waited_for = self
            .changed
            .wait_while(state, |state| state.way == Way::Shut);
        state = waited_for.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        match state.way {
            Way::Closed => Passage::Closed,
            _ if waited => Passage::Reopened,
            _ => Passage::Open,
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn those_who_come_while_it_is_shut_wait_until_it_opens() {
        let gate = Arc::new(Gate::default());
        assert_eq!(gate.pass(), Passage::Open);
        gate.shut();
        let pass = || {
            let gate = gate.clone();
            thread::spawn(move || gate.pass())
        };
        let threads = [pass(), pass()];
        assert!(gate.await_all(2, Duration::from_secs(60)));
        assert!(!gate.await_all(3, Duration::from_millis(1)));
        gate.open();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Passage::Reopened);
        }
        assert_eq!(gate.pass(), Passage::Open);
    }

    #[test]
    fn who_waits_for_something_else_stands_still_as_well() {
        let gate = Arc::new(Gate::default());
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let aside = {
            let gate = gate.clone();
            thread::spawn(move || {
                gate.aside(|| wait.recv().unwrap());
                gate.pass()
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
    fn what_is_closed_stays_closed() {
        let gate = Gate::default();
        gate.close();
        gate.open();
        assert_eq!(gate.pass(), Passage::Closed);
    }
}
