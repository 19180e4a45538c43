//! When the stages of a boot were reached, counted from the start of the process.
//!
//! Marked from several threads; each stage counts once.

use std::fmt;
use std::io::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What is waited for between the start of the process and a useful guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The virtual machine exists, with its interrupt controllers.
    KvmReady,
    /// Kernel, initramfs and tables are in guest memory.
    KernelLoaded,
    /// A vCPU is about to execute the guest's first instruction.
    FirstEntry,
    /// The guest opened its first vsock connection to the host.
    AgentReady,
}

const STAGES: [(Stage, &str, &str); 4] = [
    (Stage::KvmReady, "kvm_ready", "KVM ready"),
    (Stage::KernelLoaded, "kernel_loaded", "kernel loaded"),
    (Stage::FirstEntry, "first_vcpu_entry", "first vCPU entry"),
    (Stage::AgentReady, "agent_ready", "agent ready"),
];

/// The stages and when they were reached.
#[derive(Debug)]
pub struct Timeline {
    start: Instant,
    /// Nanoseconds since the start; 0 is "not reached".
    reached: [AtomicU64; STAGES.len()],
    /// Processor time that the process had used before its start began, and what whoever started it used for that.
    cpu: (Duration, Duration),
    print: bool,
    printed: Once,
}

impl Timeline {
    /// Call this first in `main`. What the process did before that (loading its program) is counted in: until now it had one
    /// thread and nothing to wait for, so its CPU time is its age.
    #[must_use]
    pub fn start() -> Self {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let used = Duration::try_from(used).unwrap_or_default();
        let now = Instant::now();
        Self {
            start: now.checked_sub(used).unwrap_or(now),
            reached: Default::default(),
            cpu: Default::default(),
            print: false,
            printed: Once::new(),
        }
    }

    /// Counts from a moment that whoever started the process has noted, in microseconds of the monotonic clock. One that is still to come
    /// is not believed.
    pub fn begin_at(&mut self, microseconds: u64) {
        let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        let age = now.checked_sub(Duration::from_micros(microseconds));
        if let Some(start) = age.and_then(|age| Instant::now().checked_sub(age)) {
            self.start = start;
        }
    }

    /// Notes how much processor time, in microseconds, the process had used when its start began, and its `parent` used for it.
    pub fn count_cpu(&mut self, own: Option<u64>, parent: Option<u64>) {
        let time =
            |microseconds: Option<u64>| Duration::from_micros(microseconds.unwrap_or_default());
        self.cpu = (time(own), time(parent));
    }

    /// Print the stages to standard error, as soon as the agent is ready or the machine ends.
    pub fn print(&mut self) {
        self.print = true;
    }

    /// Notes that a stage was reached now, unless it was already.
    pub fn mark(&self, stage: Stage) {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let Some(cell) = self.reached.get(stage as usize) else {
            return;
        };
        let first = cell.compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() && stage == Stage::AgentReady {
            self.finish();
        }
    }

    /// Prints the stages if that was asked for and has not happened yet.
    pub fn finish(&self) {
        if self.print {
            self.printed.call_once(|| {
                // Nobody reads standard error: nothing to be done about that.
                let _ = write!(io::stderr(), "{self}");
            });
        }
    }

    /// How long ago the start began, and how long it was on a CPU.
    #[must_use]
    pub fn elapsed(&self) -> (Duration, Duration) {
        let used = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime));
        let (before, parent) = self.cpu;
        let used = used.unwrap_or_default().saturating_sub(before);
        (self.start.elapsed(), used.saturating_add(parent))
    }

    /// Names of the stages that were reached, and their times in milliseconds.
    pub fn reached(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.stages()
            .map(|(key, _, time)| (key, milliseconds(time)))
    }

    /// Names and times of the stages that were reached.
    fn stages(&self) -> impl Iterator<Item = (&'static str, &'static str, Duration)> {
        let reached = self.reached.iter().map(|cell| cell.load(Ordering::Relaxed));
        STAGES
            .iter()
            .zip(reached)
            .filter(|(_, nanos)| *nanos > 0)
            .map(|((_, key, label), nanos)| (*key, *label, Duration::from_nanos(nanos)))
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>10} ms  process start", "0.000")?;
        for (_, label, time) in self.stages() {
            writeln!(f, "{:>10.3} ms  {label}", milliseconds(time))?;
        }
        Ok(())
    }
}

/// Milliseconds by stage.
impl Serialize for Timeline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, _, time) in self.stages() {
            map.serialize_entry(key, &milliseconds(time))?;
        }
        map.end()
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_when_and_cost_what_it_is_said_to() {
        let mut timeline = Timeline::start();
        let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap();
        let second = Duration::from_secs(1);
        timeline.begin_at(u64::try_from((now - second).as_micros()).unwrap());
        timeline.count_cpu(None, Some(2_000_000));
        let (wall, cpu) = timeline.elapsed();
        assert!(wall >= second && cpu >= 2 * second, "{wall:?} {cpu:?}");
        // More than there was is not taken off.
        timeline.count_cpu(Some(u64::MAX), None);
        assert_eq!(timeline.elapsed().1, Duration::ZERO);
        // A start that is still to come is none.
        timeline.begin_at(u64::MAX);
        assert!(timeline.elapsed().0 >= second);
    }

    #[test]
    fn a_stage_counts_once_and_in_order() {
        let timeline = Timeline::start();
        timeline.mark(Stage::KvmReady);
        let before = serde_json::to_value(&timeline).unwrap();
        timeline.mark(Stage::FirstEntry);
        timeline.mark(Stage::KvmReady);
        let after = serde_json::to_value(&timeline).unwrap();
        assert_eq!(before["kvm_ready"], after["kvm_ready"]);
        assert!(after["first_vcpu_entry"].as_f64() >= after["kvm_ready"].as_f64());
        assert!(after.get("agent_ready").is_none());
        assert_eq!(timeline.to_string().lines().count(), 3);
    }
}
