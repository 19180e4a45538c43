//! Prometheus' text form, version 0.0.4: counters say what came since the start of the process.
//!
//! A figure `read_bytes` of a section `block` is called `hull_block_read_bytes_total`; what is no counter has no `_total`. Each
//! sample has the label `vm`, the name of the microVM, and `id` where there can be several devices. There is no sum over the devices of
//! a kind: whoever wants it asks Prometheus for it.

use std::collections::BTreeMap;
use std::fmt::Write;

use hull_devices::metrics::{Figure, Value};
use hull_vm_api::ExitCause;

use super::sections::Sections;
use crate::timeline::Timeline;

/// What is said besides the sections.
pub(super) struct Machine<'a> {
    pub id: &'a str,
    pub version: &'a str,
    pub properties: Option<&'a BTreeMap<String, String>>,
    /// How it ended, if it has.
    pub cause: Option<ExitCause>,
    pub timeline: &'a Timeline,
}

/// All of it as text.
pub(super) fn text(machine: &Machine<'_>, sections: &Sections) -> String {
    let mut text = Text {
        vm: label("vm", machine.id),
        out: String::new(),
    };
    text.facts(machine);
    for (section, devices) in sections {
        text.section(section, devices);
    }
    text.out
}

struct Text {
    /// The label that every sample has.
    vm: String,
    out: String,
}

impl Text {
    fn facts(&mut self, machine: &Machine<'_>) {
        self.head("vm_info", "gauge", "The program that runs the microVM.");
        self.sample("vm_info", &[label("version", machine.version)], 1);
        if let Some(properties) = machine.properties {
            self.head("vm_property", "gauge", "What the user had to say of it.");
            for (name, value) in properties {
                let labels = [label("name", name), label("value", value)];
                self.sample("vm_property", &labels, 1);
            }
        }
        if let Some(cause) = machine.cause {
            self.head("vm_ended", "gauge", "The exit status with which it ended.");
            self.sample("vm_ended", &[label("status", &cause.code().to_string())], 1);
        }
        let help = "Milliseconds from the start of the process to each stage.";
        self.head("timeline_ms", "gauge", help);
        for (stage, ms) in machine.timeline.reached() {
            self.sample("timeline_ms", &[label("stage", stage)], ms);
        }
    }

    /// One figure after the other, each of all devices.
    fn section(&mut self, section: &str, devices: &BTreeMap<Option<String>, Vec<Figure>>) {
        let Some(first) = devices.values().next() else {
            return;
        };
        for (index, figure) in first.iter().enumerate() {
            let name = format!("{section}_{}", figure.name);
            let samples = devices
                .iter()
                .filter_map(|(id, figures)| Some((id, figures.get(index)?.value)));
            let samples: Vec<_> = samples
                .map(|(id, value)| {
                    let id: Vec<_> = id.iter().map(|id| label("id", id)).collect();
                    (id, value)
                })
                .collect();
            match figure.value {
                Value::Count(_) => self.family(&format!("{name}_total"), figure.help, &samples),
                Value::Level(_) => self.family(&name, figure.help, &samples),
                Value::Durations { .. } => {
                    let part = |pick: fn(u64, u64, u64) -> Value| {
                        let pick = |value: &Value| match *value {
                            Value::Durations { min, max, sum } => pick(min, max, sum),
                            other => other,
                        };
                        let samples = samples.iter();
                        samples
                            .map(|(labels, value)| (labels.clone(), pick(value)))
                            .collect::<Vec<_>>()
                    };
                    let help = figure.help;
                    let (min, max) = (
                        part(|min, _, _| Value::Level(min)),
                        part(|_, max, _| Value::Level(max)),
                    );
                    self.family(
                        &format!("{name}_min_us"),
                        &format!("{help} The shortest."),
                        &min,
                    );
                    self.family(
                        &format!("{name}_max_us"),
                        &format!("{help} The longest."),
                        &max,
                    );
                    let sum = part(|_, _, sum| Value::Count(sum));
                    let help = format!("{help} All together.");
                    self.family(&format!("{name}_sum_us_total"), &help, &sum);
                }
            }
        }
    }

    /// A figure of all devices.
    fn family(&mut self, name: &str, help: &str, samples: &[(Vec<String>, Value)]) {
        let kind = match samples.first() {
            Some((_, Value::Count(_))) => "counter",
            _ => "gauge",
        };
        self.head(name, kind, help);
        for (labels, value) in samples {
            if let Value::Count(number) | Value::Level(number) = value {
                self.sample(name, labels, number);
            }
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // A string takes everything.
        let _ = writeln!(self.out, "# HELP hull_{name} {help}");
        let _ = writeln!(self.out, "# TYPE hull_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[String], value: impl std::fmt::Display) {
        let labels: String = labels.iter().map(|label| format!(",{label}")).collect();
        let _ = writeln!(self.out, "hull_{name}{{{}{labels}}} {value}", self.vm);
    }
}

fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{name}=\"{}\"", value.replace('\n', "\\n"))
}
