//! All that is counted, at one moment, by section.
//!
//! A section is a kind of device or a part of the VMM, named as Firecracker names it. There are several of one kind where there are
//! several devices, told apart by their ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use hull_devices::balloon::BalloonCounters;
use hull_devices::block::BlockCounters;
use hull_devices::console::ConsoleCounters;
use hull_devices::fs::FsCounters;
use hull_devices::mem::MemCounters;
use hull_devices::metrics::{Figure, Metrics, Value};
use hull_devices::net::Counters as NetCounters;
use hull_devices::net::mmds::MmdsCounters;
use hull_devices::pmem::PmemCounters;
use hull_devices::rng::RngCounters;
use hull_devices::serial::SerialCounters;
use hull_devices::vsock::VsockCounters;

use super::exits::Exits;
use super::own::{InterruptCounters, Latencies};

/// Somebody who counts.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub section: &'static str,
    /// Of which device, where there can be several.
    pub id: Option<String>,
    pub metrics: Arc<dyn Metrics>,
}

impl Source {
    /// The only one of its section.
    pub(crate) fn new(section: &'static str, metrics: Arc<dyn Metrics>) -> Self {
        Self {
            section,
            id: None,
            metrics,
        }
    }
}

/// The figures of each section at one moment: by its name, then by the id of a device.
pub(super) type Sections = BTreeMap<&'static str, BTreeMap<Option<String>, Vec<Figure>>>;

/// Takes the figures of all who count.
pub(super) fn collect<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Sections {
    let mut sections = Sections::new();
    for source in sources {
        let mut figures = Vec::new();
        source.metrics.each(&mut |figure| figures.push(figure));
        let devices = sections.entry(source.section).or_default();
        devices.insert(source.id.clone(), figures);
    }
    sections
}

/// Sections that every line has, with zeros where there is no such device, as Firecracker has it.
pub(super) fn absent() -> Vec<Source> {
    fn zeros<M: Metrics + Default + 'static>(section: &'static str) -> Source {
        Source::new(section, Arc::new(M::default()))
    }
    vec![
        zeros::<BalloonCounters>("balloon"),
        zeros::<BlockCounters>("block"),
        zeros::<ConsoleCounters>("console"),
        zeros::<RngCounters>("entropy"),
        zeros::<FsCounters>("fs"),
        zeros::<InterruptCounters>("interrupts"),
        zeros::<Latencies>("latencies_us"),
        zeros::<MemCounters>("memory_hotplug"),
        zeros::<MmdsCounters>("mmds"),
        zeros::<NetCounters>("net"),
        zeros::<PmemCounters>("pmem"),
        zeros::<SerialCounters>("uart"),
        zeros::<Exits>("vcpu"),
        zeros::<VsockCounters>("vsock"),
    ]
}

/// The sum over all devices of a kind.
pub(super) fn sum<'a>(devices: impl IntoIterator<Item = &'a Vec<Figure>>) -> Vec<Figure> {
    let mut devices = devices.into_iter();
    let mut sum = devices.next().cloned().unwrap_or_default();
    for device in devices {
        for (total, figure) in sum.iter_mut().zip(device) {
            total.value = together(total.value, figure.value);
        }
    }
    sum
}

fn together(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Count(one), Value::Count(other)) => Value::Count(one.wrapping_add(other)),
        (Value::Level(one), Value::Level(other)) => Value::Level(one.saturating_add(other)),
        (
            Value::Durations { min, max, sum },
            Value::Durations {
                min: other_min,
                max: other_max,
                sum: other_sum,
            },
        ) => Value::Durations {
            // Zero is "never".
            min: match (min, other_min) {
                (0, some) | (some, 0) => some,
                (one, other) => one.min(other),
            },
            max: max.max(other_max),
            sum: sum.wrapping_add(other_sum),
        },
        // Fields of one structure do not change their kind.
        (one, _) => one,
    }
}
