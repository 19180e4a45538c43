//! Two looks at all microVMs, as a table.

use clap::ValueEnum;
use serde_json::json;

use super::machine::Machine;
use crate::format::{Columns, Row, units};

/// What is not known.
const UNKNOWN: &str = "--";

/// The table.
pub(super) const COLUMNS: Columns = Columns {
    table: "{{.Name}}\t{{.Kind}}\t{{.CPUPerc}}\t{{.Own}}\t{{.Shared}}\t{{.Limit}}\t{{.NetIO}}\t{{.DiskIO}}\t{{.PIDs}}\t{{.Uptime}}",
    quiet: "{{.Name}}",
    headers: &[
        ("Name", "NAME"),
        ("Kind", "KIND"),
        ("ID", "ID"),
        ("Image", "IMAGE"),
        ("CPUPerc", "CPU %"),
        ("CPUs", "CPUS"),
        ("Own", "OWN"),
        ("Shared", "SHARED"),
        ("Proportional", "PROPORTIONAL"),
        ("Limit", "LIMIT"),
        ("NetIO", "NET I/O"),
        ("DiskIO", "DISK I/O"),
        ("PIDs", "PIDS"),
        ("Uptime", "UPTIME"),
        ("State", "STATE"),
    ],
};

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Who uses most of the processors.
    Cpu,
    /// Who has most memory of its own.
    Memory,
    /// By names.
    Name,
    /// Who has run for the longest time.
    Uptime,
}

/// One line.
#[derive(Debug)]
struct Line<'a> {
    machine: &'a Machine,
    /// In percent of one processor, if it was there before.
    cpu: Option<f64>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Round<'a>(Vec<Line<'a>>);

impl<'a> Round<'a> {
    /// What has come to be between two looks.
    pub(super) fn new(before: &[Machine], now: &'a [Machine]) -> Self {
        let line = |machine: &'a Machine| {
            let earlier = before.iter().find(|earlier| machine.is(earlier));
            Line {
                machine,
                cpu: earlier.and_then(|earlier| machine.cpu_since(earlier)),
            }
        };
        Self(now.iter().map(line).collect())
    }

    /// Brings them into order; where it says nothing, it is that of names.
    pub(super) fn sort(&mut self, by: Sort) {
        self.0.sort_by(|a, b| a.machine.name.cmp(&b.machine.name));
        match by {
            Sort::Name => {}
            Sort::Cpu => self.0.sort_by(|a, b| {
                let of = |line: &Line<'_>| line.cpu.unwrap_or(0.0);
                of(b).total_cmp(&of(a))
            }),
            Sort::Memory => self
                .0
                .sort_by_key(|line| std::cmp::Reverse(line.machine.memory.own)),
            Sort::Uptime => self.0.sort_by_key(|line| line.machine.started),
        }
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        self.0.iter().map(Line::row).collect()
    }

    /// All of them in one line.
    pub(super) fn sum(&self) -> String {
        let machines = match self.0.len() {
            1 => "1 microVM".to_owned(),
            count => format!("{count} microVMs"),
        };
        let cpu: f64 = self.0.iter().filter_map(|line| line.cpu).sum();
        let memory = self.0.iter().map(|line| line.machine.memory.proportional);
        let memory = units::memory(memory.fold(0, u64::saturating_add));
        format!("{machines}, CPU {cpu:.1}%, memory {memory}")
    }
}

impl Line<'_> {
    fn row(&self) -> Row {
        let machine = self.machine;
        let both = |one: u64, other: u64| format!("{} / {}", units::size(one), units::size(other));
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
        let memory = machine.memory;
        let uptime = machine.started.map(|started| {
            let seconds = machine.read.duration_since(started).as_secs();
            uptime(seconds)
        });
        Row::new(json!({
            "Name": machine.name,
            "Kind": machine.kind,
            "ID": machine.id.get(..12).unwrap_or(&machine.id),
            "Image": machine.image.clone().unwrap_or_default(),
            "CPUPerc": or_unknown(self.cpu.map(|cpu| format!("{cpu:.2}%"))),
            "CPUs": or_unknown(machine.cpus.map(|cpus| cpus.to_string())),
            "Own": units::memory(memory.own),
            "Shared": units::memory(memory.shared),
            "Proportional": units::memory(memory.proportional),
            "Limit": or_unknown(memory.limit.map(units::memory)),
            "NetIO": or_unknown(machine.network.map(|net| both(net.received, net.sent))),
            "DiskIO": or_unknown(machine.disk.map(|disk| both(disk.read, disk.written))),
            "PIDs": or_unknown(machine.processes.map(|count| count.to_string())),
            "Uptime": or_unknown(uptime),
            "State": if machine.paused { "paused" } else { "running" },
        }))
    }
}

/// `2d03h`, `4h05m`, `6m07s`, `8s`: the two largest units.
fn uptime(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days}d{:02}h", hours % 24),
        (_, 1.., _) => format!("{hours}h{:02}m", minutes % 60),
        (_, _, 1..) => format!("{minutes}m{:02}s", seconds % 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::format::List;

    fn machine(name: &str, at: &str, cpu_ms: u64, own: u64, started: &str) -> Machine {
        let json = json!({
            "kind": "container", "id": format!("{name}-0123456789abcdef"), "name": name, "image": "busybox",
            "paused": false, "started": started, "read": at, "cpu_ms": cpu_ms, "cpus": 2,
            "memory": { "own": own, "shared": 1 << 20, "proportional": own, "limit": 1 << 30 },
            "disk": { "read": 1000, "written": 2000 }, "network": null, "processes": 3, "threads": 5,
        });
        serde_json::from_value(json).unwrap()
    }

    fn looks() -> (Vec<Machine>, Vec<Machine>) {
        const DAY: &str = "2026-01-01T00:00:00Z";
        let early = "2026-01-01T01:00:00Z";
        let late = "2026-01-01T01:00:02Z";
        let before = vec![
            machine("a", early, 1000, 30, DAY),
            machine("b", early, 1000, 20, DAY),
            machine("again", early, 90_000, 10, DAY),
        ];
        let now = vec![
            machine("a", late, 1100, 30, DAY),
            machine("again", late, 10, 10, "2026-01-01T01:00:01Z"),
            machine("b", late, 4000, 20, DAY),
        ];
        (before, now)
    }

    fn names(by: Sort) -> Vec<String> {
        let (before, now) = looks();
        let mut round = Round::new(&before, &now);
        round.sort(by);
        let list = List::new(&COLUMNS, Some("{{.Name}}"), false).unwrap();
        let text = list.render(&round.rows()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn order_is_by_what_was_asked_for() {
        assert_eq!(names(Sort::Cpu), ["b", "a", "again"]);
        assert_eq!(names(Sort::Memory), ["a", "b", "again"]);
        assert_eq!(names(Sort::Name), ["a", "again", "b"]);
        assert_eq!(names(Sort::Uptime), ["a", "b", "again"]);
    }

    #[test]
    fn what_was_used_is_of_the_time_between_two_looks() {
        let (before, now) = looks();
        let round = Round::new(&before, &now);
        let list = List::new(&COLUMNS, Some("json"), false).unwrap();
        let lines = list.render(&round.rows()).unwrap();
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["CPUPerc"], "5.00%");
        assert_eq!(lines[2]["CPUPerc"], "150.00%");
        // It was started again in between.
        assert_eq!(lines[1]["CPUPerc"], UNKNOWN);
        assert_eq!(lines[0]["DiskIO"], "1kB / 2kB");
        assert_eq!(lines[0]["NetIO"], UNKNOWN);
        assert_eq!(lines[0]["Limit"], "1GiB");
        assert_eq!(lines[0]["Uptime"], "1h00m");
        assert_eq!(round.sum(), "3 microVMs, CPU 155.0%, memory 60B");
    }

    #[test]
    fn times_are_said_in_two_units() {
        for (seconds, text) in [
            (-1, "0s"),
            (59, "59s"),
            (61, "1m01s"),
            (3661, "1h01m"),
            (90_000, "1d01h"),
        ] {
            assert_eq!(uptime(seconds), text);
        }
    }
}
