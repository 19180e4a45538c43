//! What the daemon must know of a container's ends, beyond its own: whether a user stopped it, how often it was started again, and what may
//! still end a start before that comes to anything.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::container::{Directory, read_json, write_json};
use crate::supervisor::restart::BackOff;

/// As it is written down; the daemon alone does that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    stopped: bool,
    restarts: u32,
}

/// Where a start is that somebody has ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// Nobody has.
    #[default]
    None,
    /// Its owner was not told yet.
    Given,
    /// Its owner will not be told: somebody ended it before.
    CalledOff,
    /// Its owner was told.
    PassedOn,
}

#[derive(Debug, Default)]
pub(super) struct Ends {
    written: Written,
    pub(super) back_off: BackOff,
    /// Ends the wait for another start.
    pub(super) waiting: Option<tokio_util::sync::CancellationToken>,
    order: Order,
    /// The next end is the first half of a restart that a user asked for.
    by_restart: bool,
}

fn path(directory: &Directory) -> PathBuf {
    directory.path().join("ends.json")
}

impl Ends {
    /// Nothing written is nothing known.
    pub(super) fn read(directory: &Directory) -> Self {
        Self {
            written: read_json(&path(directory)).unwrap_or_default(),
            ..Self::default()
        }
    }

    pub(super) fn restarts(&self) -> u32 {
        self.written.restarts
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.written.stopped
    }

    /// A user wants it to stand still.
    pub(super) fn note_stop(&mut self, directory: &Directory) {
        self.written.stopped = true;
        self.write(directory);
    }

    pub(super) fn note_restart(&mut self) {
        self.by_restart = true;
    }

    /// Whether the end that has just come is to be followed by nothing but what the user does who asked for it.
    pub(super) fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.by_restart)
    }

    /// A user orders its start.
    pub(super) fn order_by_hand(&mut self) {
        self.written = Written::default();
        self.back_off = BackOff::default();
        self.order = Order::Given;
    }

    /// The wait for another start is over, and that is ordered.
    pub(super) fn order_again(&mut self) {
        self.waiting = None;
        self.order = Order::Given;
    }

    /// The owner is about to be told of the order; false if somebody has ended it.
    pub(super) fn pass_on(&mut self) -> bool {
        let goes_on = self.order != Order::CalledOff;
        if goes_on {
            self.order = Order::PassedOn;
        }
        goes_on
    }

    /// The order was carried out, or not.
    pub(super) fn order_is_over(&mut self) {
        self.order = Order::None;
    }

    /// Calls off a start of which the owner was not told yet; where the order is then.
    pub(super) fn call_off(&mut self) -> Order {
        if self.order == Order::Given {
            self.order = Order::CalledOff;
        }
        self.order
    }

    /// The daemon was started, which starts it whether or not a user stopped it before.
    pub(super) fn forget_stop(&mut self) {
        self.written.stopped = false;
    }

    /// It was started, by whomever.
    pub(super) fn note_start(&self, directory: &Directory) {
        self.write(directory);
    }

    /// It is started again.
    pub(super) fn note_again(&mut self) {
        self.written.restarts = self.written.restarts.saturating_add(1);
    }

    fn write(&self, directory: &Directory) {
        match write_json(&path(directory), &self.written) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "how a container ended was not written down");
            }
            _ => {}
        }
    }
}
