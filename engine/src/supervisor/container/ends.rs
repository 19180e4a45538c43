//! What the daemon must know of a container's ends, beyond its own: whether a user stopped it, and how often it was started again.

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

#[derive(Debug, Default)]
pub(super) struct Ends {
    written: Written,
    pub(super) back_off: BackOff,
    /// Ends the wait for another start.
    pub(super) waiting: Option<tokio_util::sync::CancellationToken>,
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

    /// A user starts it.
    pub(super) fn note_start_by_hand(&mut self) {
        self.written = Written::default();
        self.back_off = BackOff::default();
    }

    /// It was started, by whomever.
    pub(super) fn note_start(&mut self, directory: &Directory) {
        self.written.stopped = false;
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
