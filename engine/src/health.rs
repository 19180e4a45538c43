//! What is known of a container's well-being, as `health.json` in its directory holds it. Its owner writes that, which makes the checks.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::container::{Directory, HealthCheck, read_json, write_json};

/// So many of the last checks are kept, as by Docker.
const KEPT: usize = 5;
/// So many bytes of what a check says.
pub(crate) const LONGEST_OUTPUT: usize = 4096;

/// How a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// It is not known yet.
    Starting,
    /// The last check was passed.
    Healthy,
    /// As many in a row as it takes were not.
    Unhealthy,
}

impl HealthStatus {
    /// As Docker's clients know it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What came of the checks of a container since its last start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// How it is.
    pub status: HealthStatus,
    /// So many checks in a row failed.
    pub streak: u32,
    /// The last checks, the oldest first.
    pub log: Vec<Checked>,
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 is well; -1 is a check that could not be made, or took too long.
    pub exit_code: i32,
    /// What it said, as far as that is kept.
    pub output: String,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            status: HealthStatus::Starting,
            streak: 0,
            log: Vec::new(),
        }
    }
}

impl Health {
    /// Takes note of a check that ended so long after the container's start. Whether the container is another way now.
    pub(crate) fn note(
        &mut self,
        check: &HealthCheck,
        checked: Checked,
        running: Duration,
    ) -> bool {
        let was = self.status;
        if checked.exit_code == 0 {
            self.streak = 0;
            self.status = HealthStatus::Healthy;
        } else if !(was == HealthStatus::Starting && running < check.start_period) {
            self.streak = self.streak.saturating_add(1);
            if self.streak >= check.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        if self.log.len() >= KEPT {
            self.log.remove(0);
        }
        self.log.push(checked);
        self.status != was
    }

    /// How long to wait before the next check, so long after the start.
    pub(crate) fn wait(&self, check: &HealthCheck, running: Duration) -> Duration {
        match self.status == HealthStatus::Starting && running < check.start_period {
            true => check.start_interval,
            false => check.interval,
        }
    }

    /// What is written down of a container; nothing if nothing is.
    pub(crate) fn read(directory: &Directory) -> Option<Self> {
        read_json(&path(directory)).ok()
    }

    pub(crate) fn write(&self, directory: &Directory) -> io::Result<()> {
        write_json(&path(directory), self)
    }
}

fn path(directory: &Directory) -> PathBuf {
    directory.path().join("health.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> HealthCheck {
        HealthCheck {
            test: vec!["true".to_owned()],
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            start_period: Duration::from_secs(60),
            start_interval: Duration::from_secs(5),
            retries: 2,
        }
    }

    fn checked(exit_code: i32) -> Checked {
        Checked {
            start: Timestamp::UNIX_EPOCH,
            end: Timestamp::UNIX_EPOCH,
            exit_code,
            output: String::new(),
        }
    }

    #[test]
    fn a_container_is_well_at_once_and_unwell_after_some_checks() {
        let (check, mut health) = (check(), Health::default());
        let (early, late) = (Duration::from_secs(10), Duration::from_secs(70));
        assert_eq!(health.wait(&check, early), check.start_interval);
        for _ in 0..9 {
            assert!(
                !health.note(&check, checked(1), early),
                "it may still be starting"
            );
        }
        assert_eq!((health.streak, health.log.len()), (0, KEPT));
        assert!(!health.note(&check, checked(-1), late));
        assert!(health.note(&check, checked(1), late));
        assert_eq!((health.status, health.streak), (HealthStatus::Unhealthy, 2));
        assert!(health.note(&check, checked(0), late));
        assert_eq!((health.status, health.streak), (HealthStatus::Healthy, 0));
        // One that was well has started.
        assert!(!health.note(&check, checked(1), early));
        assert_eq!(health.streak, 1);
        assert_eq!(health.wait(&check, early), check.interval);
        assert_eq!(health.wait(&check, late), check.interval);
    }
}
