use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use hull_devices::block::BlockCounters;
use hull_devices::metrics::Value as Number;
use hull_vm_api::config::HostPath;
use serde_json::Value;

use super::*;

/// Two disks, which were read and written.
struct Disks {
    figures: Figures,
    one: Arc<BlockCounters>,
    other: Arc<BlockCounters>,
    exits: Arc<Exits>,
}

fn disks() -> Disks {
    let mut figures = Figures::new("vm \"7\"", Arc::new(Timeline::start()));
    let (one, other) = (
        Arc::<BlockCounters>::default(),
        Arc::<BlockCounters>::default(),
    );
    let exits = Arc::<Exits>::default();
    let disk = |id: &str, counters: &Arc<BlockCounters>| Source {
        section: "block",
        id: Some(id.to_owned()),
        metrics: counters.clone(),
    };
    let sources = vec![
        disk("root", &one),
        disk("data", &other),
        Source::new("vcpu", exits.clone()),
    ];
    figures.measure(exits.clone(), sources);
    Disks {
        figures,
        one,
        other,
        exits,
    }
}

impl Disks {
    /// Writes to a file and reads all of it.
    fn written(&mut self, file: &mut File) -> String {
        self.figures.write(None).unwrap();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    fn file(&mut self, format: MetricsFormat) -> File {
        let file = tempfile::tempfile().unwrap();
        let settings = Metrics {
            format,
            properties: Some(BTreeMap::from([("rack".to_owned(), "7\n\\\"".to_owned())])),
            ..Metrics::new(HostPath::from("/m"))
        };
        self.figures.send_to(file.try_clone().unwrap(), settings);
        file
    }
}

#[test]
fn a_line_has_what_was_counted_since_the_line_before() {
    let mut disks = disks();
    let mut file = disks.file(MetricsFormat::Json);
    disks.one.read_bytes.add(512);
    disks.other.read_bytes.add(1024);
    disks.one.read_agg.add(Duration::from_micros(30));
    disks.other.read_agg.add(Duration::from_micros(50));
    disks.exits.took(Exit::IoIn, Duration::from_micros(5));
    let text = disks.written(&mut file);
    let first: Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(first["block_root"]["read_bytes"], 512);
    assert_eq!(first["block_data"]["read_bytes"], 1024);
    assert_eq!(first["block"]["read_bytes"], 512 + 1024);
    assert_eq!(first["block"]["read_agg"]["min_us"], 30);
    assert_eq!(first["block"]["read_agg"]["max_us"], 50);
    assert_eq!(first["block"]["read_agg"]["sum_us"], 80);
    assert_eq!(first["vcpu"]["exit_io_in"], 1);
    assert_eq!(first["vcpu"]["exit_io_in_agg"]["sum_us"], 5);
    // What this machine does not have is there all the same.
    for section in ["net", "vsock", "balloon", "memory_hotplug", "entropy"] {
        let section = first[section].as_object().unwrap();
        assert!(section.len() > 3 && section.values().all(|v| v == 0 || v.is_object()));
    }

    disks.other.read_bytes.add(8);
    let text = disks.written(&mut file);
    let second: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!(second["block_root"]["read_bytes"], 0);
    assert_eq!(second["block"]["read_bytes"], 8);
    assert_eq!(second["block"]["read_agg"]["max_us"], 50);
    assert_eq!(second["block"]["read_agg"]["sum_us"], 0);
    // These are since the start.
    assert_eq!(second["exits"]["io_in"], 1);
}

#[test]
fn without_an_interval_nothing_is_written_unasked() {
    let mut disks = disks();
    let mut send = |interval_s| {
        let settings = Metrics {
            interval_s,
            ..Metrics::new(HostPath::from("/m"))
        };
        let file = tempfile::tempfile().unwrap();
        disks.figures.send_to(file, settings);
        let before = disks.figures.due();
        disks.figures.write(None).unwrap();
        (before.is_some(), disks.figures.due().is_some())
    };
    assert_eq!(send(60), (true, true));
    assert_eq!(send(0), (false, false));
}

#[test]
fn what_could_not_be_written_is_in_the_next_line() {
    let mut disks = disks();
    disks.one.flush_count.add(3);
    // Nothing can be written there.
    let full = File::options().write(true).open("/dev/full").unwrap();
    disks
        .figures
        .send_to(full, Metrics::new(HostPath::from("/m")));
    assert!(disks.figures.write(None).is_err());
    let to = disks.figures.to.as_mut().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    to.file = file.try_clone().unwrap();
    let text = disks.written(&mut file);
    let line: Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(line["block"]["flush_count"], 3);
    assert_eq!(line["logger"]["missed_metrics_count"], 1);
}

/// The samples of a text, by name with labels, after it was checked that the text is what Prometheus takes.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut families, mut samples) = (BTreeSet::new(), BTreeMap::new());
    let mut family = (String::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let name = rest.split(' ').next().unwrap().to_owned();
            assert!(families.insert(name.clone()), "{name} is there twice");
            let kind = lines.next().unwrap();
            let kind = kind.strip_prefix(&format!("# TYPE {name} ")).unwrap();
            family = (name, kind.to_owned());
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = sample.split_once('{').unwrap();
        assert_eq!(name, family.0, "{line}");
        assert_eq!(name.ends_with("_total"), family.1 == "counter", "{line}");
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        assert!(name.bytes().all(plain), "{line}");
        assert!(labels.starts_with("vm=\"vm \\\"7\\\"\""), "{line}");
        samples.insert(sample.to_owned(), value.parse().unwrap());
    }
    samples
}

#[test]
fn prometheus_gets_all_since_the_start_in_its_form() {
    let mut disks = disks();
    let mut file = disks.file(MetricsFormat::Prometheus);
    disks.one.read_bytes.add(512);
    disks.other.read_bytes.add(1024);
    disks.other.read_agg.add(Duration::from_micros(50));
    for _ in 0..2 {
        disks.one.read_bytes.add(1);
        disks.written(&mut file);
    }
    let text = disks.written(&mut file);
    let written = samples(&text);
    let of = |name: &str, labels: &str| {
        let sample = format!("hull_{name}{{vm=\"vm \\\"7\\\"\"{labels}}}");
        *written.get(&sample).unwrap_or_else(|| panic!("{sample}"))
    };
    assert!((of("block_read_bytes_total", ",id=\"root\"") - 514.0).abs() < 0.1);
    assert!((of("block_read_bytes_total", ",id=\"data\"") - 1024.0).abs() < 0.1);
    assert!((of("block_read_agg_sum_us_total", ",id=\"data\"") - 50.0).abs() < 0.1);
    assert!((of("vcpu_exit_io_in_total", "") - 0.0).abs() < 0.1);
    of("vm_property", ",name=\"rack\",value=\"7\\n\\\\\\\"\"");
    // What there is not is not there: a rate of nothing is no zero.
    assert!(!text.contains("hull_net_"), "{text}");
    // Whoever asks gets the same as the file.
    assert_eq!(samples(&disks.figures.now()).len(), written.len());
}

/// What the documentation has to say of all figures.
fn table() -> String {
    let figures = disks().figures;
    let absent = sections::absent();
    let all = sections::collect(absent.iter().chain(figures.sources()));
    let mut table = String::new();
    for (section, devices) in all {
        table.push_str(&format!("\n### {section}\n\n| field | |\n|---|---|\n"));
        for figure in sections::sum(devices.values()) {
            let kind = match figure.value {
                Number::Count(_) => "",
                Number::Level(_) => " Now, not since.",
                Number::Durations { .. } => " `min_us`, `max_us`, `sum_us`.",
            };
            table.push_str(&format!("| `{}` | {}{kind} |\n", figure.name, figure.help));
        }
    }
    table
}

#[test]
fn every_figure_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/vm/METRICS.md");
    let documentation = std::fs::read_to_string(path).unwrap();
    let table = table();
    assert!(
        documentation.ends_with(&table),
        "METRICS.md must end with this:\n{table}"
    );
}
