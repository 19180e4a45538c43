//! Where the time of a start goes, step by step.

use std::time::{Duration, Instant};

/// Steps and how long each took, in order.
#[derive(Clone, Debug)]
pub struct Timing {
    last: Instant,
    steps: Vec<(&'static str, Duration)>,
}

impl Timing {
    /// Starts the clock.
    pub fn start() -> Self {
        Self {
            last: Instant::now(),
            steps: Vec::new(),
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

    /// All steps so far.
    pub fn steps(&self) -> &[(&'static str, Duration)] {
        &self.steps
    }
}
