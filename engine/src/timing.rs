//! Where the time of a start goes, step by step.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a container's microVM began as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartedFrom {
    /// A boot.
    #[default]
    Boot,
    /// A clone of a machine whose agent waits.
    MachineTemplate,
    /// A clone of one that has the image's file systems mounted.
    ImageTemplate,
    /// A machine with processes: its own, which was suspended or is at a checkpoint, or another container's.
    Snapshot,
}

impl StartedFrom {
    /// As logs and metrics have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::MachineTemplate => "machine template",
            Self::ImageTemplate => "image template",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Steps and how long each took, in order.
#[derive(Clone, Debug)]
pub struct Timing {
    last: Instant,
    steps: Vec<(&'static str, Duration)>,
    from: StartedFrom,
}

impl Timing {
    /// Starts the clock.
    pub fn start() -> Self {
        Self {
            last: Instant::now(),
            steps: Vec::new(),
            from: StartedFrom::default(),
        }
    }

    /// What was done since the step before, or the start, was this.
    pub fn step(&mut self, name: &'static str) {
        let now = Instant::now();
        self.steps.push((name, now - self.last));
        self.last = now;
    }

    /// A time that was measured elsewhere; the clock runs on.
    pub fn note(&mut self, name: &'static str, duration: Duration) {
        self.steps.push((name, duration));
    }

    /// Adds the steps of another clock behind these and goes on from now.
    pub fn append(&mut self, other: &Self) {
        self.steps.extend_from_slice(&other.steps);
        self.last = other.last;
    }

    /// The machine that came up in the end began as this.
    pub(crate) fn came_from(&mut self, from: StartedFrom) {
        self.from = from;
    }

    /// What the machine began as.
    #[must_use]
    pub fn from(&self) -> StartedFrom {
        self.from
    }

    /// All steps so far.
    pub fn steps(&self) -> &[(&'static str, Duration)] {
        &self.steps
    }
}
