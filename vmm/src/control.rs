//! What reaches the machine from outside while it runs: signals, the end of whoever started it, and its own end.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use hull_vm_api::ExitCause;

use crate::ending::Ending;
use crate::power_button::PowerButton;
use crate::signals::{Request, Signals};

/// One of the event loop's subscribers.
#[derive(Debug)]
pub(crate) struct Control {
    ending: Arc<Ending>,
    signals: Signals,
    /// Nothing is ever written into it; it ends when its other end does.
    lifeline: Option<File>,
    button: PowerButton,
    asked: bool,
}

impl Control {
    /// A subscriber that ends the machine by `ending`, or asks its guest to by `button`.
    #[must_use]
    pub(crate) fn new(
        ending: Arc<Ending>,
        signals: Signals,
        lifeline: Option<File>,
        button: PowerButton,
    ) -> Self {
        Self {
            ending,
            signals,
            lifeline,
            button,
            asked: false,
        }
    }

    fn signal(&mut self, request: Request) {
        match request {
            Request::Terminate if !self.asked => {
                self.asked = true;
                tracing::info!("asking the guest to power off; another SIGTERM ends it at once");
                self.button.press();
            }
            Request::Terminate | Request::Interrupt => self.ending.announce(ExitCause::Terminated),
        }
    }

    fn lifeline(&mut self, ops: &mut EventOps<'_>) {
        let Some(pipe) = &mut self.lifeline else {
            return;
        };
        // It was readable, so this does not wait. Bytes mean nothing; an error is as good as an end.
        if pipe.read(&mut [0; 64]).unwrap_or(0) == 0 {
            let _ = ops.remove(Events::empty(pipe));
            self.ending.announce(ExitCause::ParentGone);
        }
    }
}

impl MutEventSubscriber for Control {
    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        let fd = events.fd();
        if fd == self.signals.as_raw_fd() {
            while let Some(request) = self.signals.next() {
                self.signal(request);
            }
        } else if self
            .lifeline
            .as_ref()
            .is_some_and(|pipe| pipe.as_raw_fd() == fd)
        {
            self.lifeline(ops);
        }
        // Else it is the end of the machine, for which the loop looks after every turn.
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        let mut watch = |events: Events| {
            if let Err(error) = ops.add(events) {
                let detail = format!("the event loop does not take {events:?}: {error}");
                self.ending.announce_with(ExitCause::Failure, detail);
            }
        };
        watch(Events::new(&self.signals, EventSet::IN));
        watch(Events::new(self.ending.event(), EventSet::IN));
        if let Some(pipe) = &self.lifeline {
            watch(Events::new(pipe, EventSet::IN));
        }
    }
}
