//! How containers started, for whoever watches the daemon: counted, measured, and told in the log.

use std::cell::RefCell;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::ContainerId;
use crate::timing::StartedFrom;

type Label = [(&'static str, String); 1];

/// Starts since the daemon began.
#[derive(Debug)]
pub struct Starts {
    starts: Family<Label, Counter>,
    failures: Counter,
    seconds: Family<Label, Histogram>,
    steps: Family<Label, Histogram>,
}

impl Default for Starts {
    fn default() -> Self {
        Self {
            starts: Family::default(),
            failures: Counter::default(),
            seconds: Family::<Label, Histogram>::new_with_constructor(histogram),
            steps: Family::<Label, Histogram>::new_with_constructor(histogram),
        }
    }
}

/// From half a millisecond to a minute.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 18))
}

impl Starts {
    /// Has them shown with other metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "hull_container_starts",
            "Containers that were started, by what their microVM began as",
            self.starts.clone(),
        );
        registry.register(
            "hull_container_start_failures",
            "Containers that could not be started",
            self.failures.clone(),
        );
        registry.register_with_unit(
            "hull_container_start_duration",
            "Time from the order to start a container to its process, by what its microVM began as",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register_with_unit(
            "hull_container_start_step_duration",
            "Time of a step on the way",
            Unit::Seconds,
            self.steps.clone(),
        );
    }

    /// One that runs. The steps are as `Timing` has them, in microseconds.
    pub(super) fn started(
        &self,
        id: &ContainerId,
        from: StartedFrom,
        steps: &[(String, u64)],
        took: Duration,
    ) {
        let origin = || [("origin", from.as_str().to_owned())];
        self.starts.get_or_create(&origin()).inc();
        self.seconds
            .get_or_create(&origin())
            .observe(took.as_secs_f64());
        for (name, micros) in steps {
            let seconds = Duration::from_micros(*micros).as_secs_f64();
            self.steps
                .get_or_create(&[("step", name.clone())])
                .observe(seconds);
        }
        tell(id, from, &Milliseconds::of(steps), took);
    }

    /// One that does not.
    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}

/// The steps of one start, each to be taken once.
struct Milliseconds(RefCell<Vec<(String, f64)>>);

impl Milliseconds {
    fn of(steps: &[(String, u64)]) -> Self {
        let ms = |micros| Duration::from_micros(micros).as_secs_f64() * 1000.0;
        let steps = steps.iter();
        Self(RefCell::new(
            steps
                .map(|(name, micros)| (name.clone(), ms(*micros)))
                .collect(),
        ))
    }

    /// How long the steps with such a name took together; nothing if there was none.
    fn take_if(&self, is_meant: impl Fn(&str) -> bool) -> Option<f64> {
        let mut steps = self.0.borrow_mut();
        let (taken, left) = steps.drain(..).partition(|(name, _)| is_meant(name));
        *steps = left;
        let taken: Vec<(String, f64)> = taken;
        (!taken.is_empty()).then(|| taken.iter().map(|(_, ms)| ms).sum())
    }

    fn take(&self, name: &str) -> Option<f64> {
        self.take_if(|one| one == name)
    }
}

/// One event with all steps in it: what did not happen is not there.
fn tell(id: &ContainerId, from: StartedFrom, ms: &Milliseconds, took: Duration) {
    tracing::info!(
        container = %id,
        origin = from.as_str(),
        total_ms = took.as_secs_f64() * 1000.0,
        host_profile_and_network_ms = ms.take("host profile and network"),
        turn_ms = ms.take("turn"),
        disk_ms = ms.take("disk"),
        vmm_spawn_ms = ms.take("vmm spawn"),
        boot_ms = ms.take("boot"),
        restore_ms = ms.take("restore"),
        machine_template_ms = ms.take("template of the machine"),
        image_template_ms = ms.take("template of the image"),
        configure_and_exec_ms = ms.take("configure and exec"),
        guest_kernel_ms = ms.take("guest: kernel to agent"),
        guest_agent_ms = ms.take("guest: agent to connected"),
        guest_configure_ms = ms.take("guest: configure"),
        guest_exec_ms = ms.take("guest: exec"),
        // Steps that have no field yet are not lost.
        other_ms = ms.take_if(|_| true),
        "started"
    );
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn starts_are_counted_by_origin_and_measured_by_step() {
        let starts = Starts::default();
        let id = ContainerId::random().unwrap();
        let steps = [("disk".to_owned(), 2_000), ("disk".to_owned(), 500)];
        let took = Duration::from_millis(4);
        starts.started(&id, StartedFrom::ImageTemplate, &steps, took);
        starts.started(&id, StartedFrom::Boot, &steps[..1], took);
        starts.failed();
        let mut registry = Registry::default();
        starts.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "hull_container_starts_total{origin=\"image template\"} 1",
            "hull_container_starts_total{origin=\"boot\"} 1",
            "hull_container_start_failures_total 1",
            "hull_container_start_duration_seconds_count{origin=\"boot\"} 1",
            "hull_container_start_step_duration_seconds_count{step=\"disk\"} 3",
        ] {
            assert!(
                text.lines().any(|one| one == line),
                "{line} is not in {text}"
            );
        }
        let ms = Milliseconds::of(&steps);
        assert_eq!(ms.take("boot"), None);
        assert_eq!(ms.take("disk"), Some(2.5));
        assert_eq!(ms.take_if(|_| true), None);
    }
}
