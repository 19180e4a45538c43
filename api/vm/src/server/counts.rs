//! How often each thing was asked for, for whoever writes metrics. Counted by the server's thread, read by any.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::request::{Method, ROUTES, Route};

/// Requests since the server was made.
#[derive(Debug)]
pub struct RequestCounts {
    /// One for each row of [`ROUTES`].
    rows: Box<[Row]>,
    deprecated: AtomicU64,
    invalid: AtomicU64,
}

#[derive(Debug, Default)]
struct Row {
    count: AtomicU64,
    fails: AtomicU64,
}

/// How often requests of one kind came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestCount {
    /// What the number of requests is called, as Firecracker calls it where it has one.
    pub count_name: &'static str,
    /// What the number of those that failed is called.
    pub fails_name: &'static str,
    /// Requests.
    pub count: u64,
    /// Those of them that failed.
    pub fails: u64,
}

/// What paths are called. What begins like one of them is called like the first that fits; two that are called alike are one.
const NAMES: &[(&str, &str, &str)] = &[
    ("/version", "vmm_version_count", "vmm_version_fails"),
    ("/vm/config", "vm_config_count", "vm_config_fails"),
    ("/vm", "vm_count", "vm_fails"),
    ("/actions", "actions_count", "actions_fails"),
    ("/boot-source", "boot_source_count", "boot_source_fails"),
    ("/machine-config", "machine_cfg_count", "machine_cfg_fails"),
    ("/cpu-config", "cpu_cfg_count", "cpu_cfg_fails"),
    ("/drives", "drive_count", "drive_fails"),
    ("/pmem", "pmem_count", "pmem_fails"),
    ("/network-interfaces", "network_count", "network_fails"),
    ("/shares", "share_count", "share_fails"),
    ("/vsock", "vsock_count", "vsock_fails"),
    ("/entropy", "entropy_count", "entropy_fails"),
    ("/serial", "serial_count", "serial_fails"),
    ("/console", "console_count", "console_fails"),
    ("/balloon", "balloon_count", "balloon_fails"),
    (
        "/hotplug/memory",
        "hotplug_memory_count",
        "hotplug_memory_fails",
    ),
    ("/mmds", "mmds_count", "mmds_fails"),
    ("/logger", "logger_count", "logger_fails"),
    ("/metrics", "metrics_count", "metrics_fails"),
    ("/snapshot", "snapshot_count", "snapshot_fails"),
    ("/", "instance_info_count", "instance_info_fails"),
];

impl RequestCounts {
    pub(super) fn new() -> Self {
        Self {
            rows: ROUTES.iter().map(|_| Row::default()).collect(),
            deprecated: AtomicU64::new(0),
            invalid: AtomicU64::new(0),
        }
    }

    /// Counts a request of a row, or of none.
    pub(super) fn answered(&self, row: Option<usize>, failed: bool) {
        match row.and_then(|row| self.rows.get(row)) {
            Some(row) => {
                count(&row.count);
                if failed {
                    count(&row.fails);
                }
            }
            None => count(&self.invalid),
        }
    }

    pub(super) fn deprecated_used(&self) {
        count(&self.deprecated);
    }

    /// The numbers now.
    #[must_use]
    pub fn now(&self) -> Requests {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Requests {
            rows: self
                .rows
                .iter()
                .map(|row| (load(&row.count), load(&row.fails)))
                .collect(),
            deprecated: load(&self.deprecated),
            invalid: load(&self.invalid),
        }
    }
}

/// The numbers of [`RequestCounts`] at one moment; plain data, which can go to another process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// All and those that failed, for each row of [`ROUTES`].
    rows: Vec<(u64, u64)>,
    /// Requests that used something that Firecracker has deprecated.
    pub deprecated: u64,
    /// Requests of no method or path that there is, and what was no HTTP.
    pub invalid: u64,
}

impl Requests {
    /// Each row of [`ROUTES`] with its requests and those of them that failed.
    pub fn rows(&self) -> impl Iterator<Item = (&'static Route, u64, u64)> {
        (0..).zip(ROUTES).map(|(index, route)| {
            let (count, fails) = self.rows.get(index).copied().unwrap_or_default();
            (route, count, fails)
        })
    }

    /// Requests of one method, by what they were about.
    #[must_use]
    pub fn of(&self, method: Method) -> Vec<RequestCount> {
        let mut counts: Vec<RequestCount> = Vec::new();
        for (route, count, fails) in self.rows().filter(|(route, ..)| route.method == method) {
            let (count_name, fails_name) = names(route);
            let same = |other: &&mut RequestCount| other.count_name == count_name;
            match counts.iter_mut().find(same) {
                Some(other) => {
                    other.count = other.count.saturating_add(count);
                    other.fails = other.fails.saturating_add(fails);
                }
                None => counts.push(RequestCount {
                    count_name,
                    fails_name,
                    count,
                    fails,
                }),
            }
        }
        counts
    }
}

fn count(number: &AtomicU64) {
    number.fetch_add(1, Ordering::Relaxed);
}

fn names(route: &Route) -> (&'static str, &'static str) {
    let fits = |section: &str| route.path.starts_with(section);
    let named = NAMES.iter().find(|(section, ..)| fits(section));
    named.map_or(("other_count", "other_fails"), |(_, count, fails)| {
        (count, fails)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name() {
        for route in ROUTES {
            let (count, fails) = names(route);
            assert_ne!(count, "other_count", "{route:?}");
            assert_eq!(
                count.strip_suffix("_count"),
                fails.strip_suffix("_fails"),
                "{route:?}"
            );
        }
    }
}
