//! One line of JSON, in Firecracker's form: counters say what came since the line before.

use std::collections::BTreeMap;

use hull_devices::metrics::{Figure, Value};
use hull_vm_api::ExitCause;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::exits::Exits;
use super::sections::{Sections, sum};
use crate::timeline::Timeline;

/// What was counted when the last line was written, by section and in the order of its figures.
pub(super) type Before = BTreeMap<String, Vec<u64>>;

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    /// When it was written, in milliseconds since 1970.
    pub utc_timestamp_ms: u128,
    /// The machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<&'a BTreeMap<String, String>>,
    /// How it ended, in its last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<ExitCause>,
    /// Milliseconds from the start of the process to each stage.
    pub timeline_ms: &'a Timeline,
    /// Exits to this process since the start, by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exits: Option<&'a Exits>,
    /// Everything else, as it was counted since the line before.
    #[serde(flatten)]
    pub sections: BTreeMap<String, Section>,
}

/// The figures of one section, since the line before.
#[derive(Debug)]
pub(super) struct Section(Vec<Figure>);

/// The sections of a line, and what the next one needs of them.
pub(super) fn since(before: &Before, all: &Sections) -> (BTreeMap<String, Section>, Before) {
    let mut sections = BTreeMap::new();
    let mut now = Before::new();
    for (name, figures) in named(all) {
        let last = before.get(&name).map_or(&[][..], Vec::as_slice);
        let counts: Vec<_> = figures.iter().map(|figure| count(figure.value)).collect();
        let since = (0..)
            .zip(figures)
            .map(|(index, figure)| Figure {
                value: less(figure.value, last.get(index).copied().unwrap_or(0)),
                ..figure
            })
            .collect();
        now.insert(name.clone(), counts);
        sections.insert(name, Section(since));
    }
    (sections, now)
}

/// Each section by its name in JSON: a kind of device by its own name with the sum of all, each device by the kind and its id.
fn named(all: &Sections) -> impl Iterator<Item = (String, Vec<Figure>)> {
    all.iter().flat_map(|(section, devices)| {
        let each = devices
            .iter()
            .filter_map(move |(id, figures)| Some((format!("{section}_{}", id.as_ref()?), figures)))
            .map(|(name, figures)| (name, figures.clone()));
        std::iter::once(((*section).to_owned(), sum(devices.values()))).chain(each)
    })
}

fn count(value: Value) -> u64 {
    match value {
        Value::Count(count) | Value::Durations { sum: count, .. } => count,
        Value::Level(_) => 0,
    }
}

fn less(value: Value, before: u64) -> Value {
    match value {
        Value::Count(count) => Value::Count(count.wrapping_sub(before)),
        Value::Level(level) => Value::Level(level),
        Value::Durations { min, max, sum } => Value::Durations {
            min,
            max,
            sum: sum.wrapping_sub(before),
        },
    }
}

#[derive(Serialize)]
struct Durations {
    min_us: u64,
    max_us: u64,
    sum_us: u64,
}

impl Serialize for Section {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for figure in &self.0 {
            match figure.value {
                Value::Count(number) | Value::Level(number) => {
                    map.serialize_entry(figure.name, &number)?;
                }
                Value::Durations { min, max, sum } => {
                    let (min_us, max_us, sum_us) = (min, max, sum);
                    let durations = Durations {
                        min_us,
                        max_us,
                        sum_us,
                    };
                    map.serialize_entry(figure.name, &durations)?;
                }
            }
        }
        map.end()
    }
}
