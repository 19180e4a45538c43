//! Whose time it was that a client took: its own, the daemon's with the container's owner, the VMM's, or the guest's.
//!
//! What the client asked and when it was answered is known from a relay; what an owner did from the steps of a start, which the
//! daemon adds up in its metrics; when a process began and ended from the daemon's events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::relay::Turn;

/// One part of a whole.
pub(crate) type Part = (&'static str, Duration);

/// A client's command, from its start to its exit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) begun: Instant,
    pub(crate) exited: Instant,
}

/// A moment by both clocks, so that the daemon's events have a place among instants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    instant: Instant,
    system: Duration,
}

impl Clock {
    pub(crate) fn now() -> Result<Self> {
        let system = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(Self {
            instant: Instant::now(),
            system,
        })
    }

    /// As the API takes moments: seconds since 1970.
    pub(crate) fn unix(&self) -> String {
        format!(
            "{}.{:09}",
            self.system.as_secs(),
            self.system.subsec_nanos()
        )
    }

    /// The instant of the first of these events, one a line, whose action begins so.
    pub(crate) fn of_event(&self, events: &str, action: &str) -> Result<Instant> {
        let all = events.lines().map(serde_json::from_str::<Value>);
        for event in all {
            let event = event?;
            let name = event["Action"].as_str().unwrap_or_default();
            if name.starts_with(action) {
                let time = event["timeNano"].as_u64().context("an event has no time")?;
                let since = Duration::from_nanos(time).saturating_sub(self.system);
                return Ok(self.instant + since);
            }
        }
        anyhow::bail!("there was no event {action}: {events}")
    }
}

/// The seconds of each step of starts, all starts of a daemon together.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Steps(BTreeMap<String, f64>);

impl Steps {
    /// From the daemon's metrics.
    pub(crate) fn read(metrics: &str) -> Self {
        const NAME: &str = "hull_container_start_step_duration_seconds_sum{step=\"";
        let steps = metrics.lines().filter_map(|line| {
            let (step, sum) = line.strip_prefix(NAME)?.split_once("\"} ")?;
            Some((step.to_owned(), sum.parse().ok()?))
        });
        Self(steps.collect())
    }

    /// How long these took since then.
    fn since(&self, before: &Self, steps: &[&str]) -> Duration {
        let sum = |all: &Self| -> f64 { steps.iter().filter_map(|step| all.0.get(*step)).sum() };
        Duration::from_secs_f64((sum(self) - sum(before)).max(0.0))
    }

    /// Whether a machine booted since then, and was no clone.
    pub(crate) fn booted(&self, before: &Self) -> bool {
        !self.since(before, &["boot"]).is_zero()
    }
}

/// What the owner does before there is a machine: what the host is like, the container's turn, its disk.
const OWNER: [&str; 3] = ["host profile and network", "turn", "disk"];
/// From the start of `hull-vmm` to the agent that can be spoken to.
const VMM: [&str; 3] = ["vmm spawn", "restore", "boot"];
/// What the agent is told, and does, until the process runs.
const GUEST: [&str; 1] = ["configure and exec"];

/// The parts of a `run --rm`, which add up to the whole of it.
pub(crate) fn run(
    span: Span,
    turns: &[Turn],
    (before, after): (&Steps, &Steps),
    died: Instant,
) -> Result<Vec<Part>> {
    let start = turns.iter().find(|turn| is_start(&turn.line));
    let start = start.context("the client started no container")?;
    let started = start.answered.context("the start was not answered")?;
    let last = turns.iter().filter_map(|turn| turn.ended).max();
    let last = last.unwrap_or(started).min(span.exited);
    let asked = turns.iter().filter(|turn| turn.asked < start.asked);
    let prepared = union(asked.map(|turn| {
        (
            turn.asked,
            turn.answered.unwrap_or(turn.asked).min(start.asked),
        )
    }));
    let [owner, vmm, guest] = [&OWNER[..], &VMM, &GUEST].map(|steps| after.since(before, steps));
    let ordered = (started - start.asked).saturating_sub(owner + vmm + guest);
    let died = died.clamp(started, last);
    let whole = span.exited - span.begun;
    Ok(vec![
        (
            "client",
            whole.saturating_sub(prepared + (last - start.asked)),
        ),
        ("daemon, before the start", prepared),
        ("daemon, the start", ordered),
        ("owner, before there is a VMM", owner),
        ("VMM, until the agent answers", vmm),
        ("guest, until the program runs", guest),
        ("guest, the program", died - started),
        ("daemon and VMM, until all is gone", last - died),
    ])
}

/// The parts of an `exec`, whose process ran between two events.
pub(crate) fn exec(span: Span, turns: &[Turn], began: Instant, died: Instant) -> Result<Vec<Part>> {
    ensure!(
        turns.iter().any(|turn| is_start(&turn.line)),
        "the client started no process"
    );
    let answered = turns.iter().map(|turn| {
        let ended = turn.ended.unwrap_or(turn.asked);
        (turn.asked, ended.min(span.exited))
    });
    let busy = union(answered);
    let guest = died.saturating_duration_since(began);
    let whole = span.exited - span.begun;
    Ok(vec![
        ("client", whole.saturating_sub(busy)),
        ("daemon", busy.saturating_sub(guest)),
        ("owner, VMM and guest", guest),
    ])
}

fn is_start(line: &str) -> bool {
    let path = line.split([' ', '?']).nth(1).unwrap_or_default();
    line.starts_with("POST ") && path.ends_with("/start")
}

/// How long at least one of these was under way. They are in the order of their beginnings.
fn union(spans: impl Iterator<Item = (Instant, Instant)>) -> Duration {
    let (mut sum, mut until) = (Duration::ZERO, None);
    for (begun, ended) in spans {
        let begun = until.map_or(begun, |until: Instant| until.max(begun));
        sum += ended.saturating_duration_since(begun);
        until = Some(until.map_or(ended, |until: Instant| until.max(ended)));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn turn(at: Instant, line: &str, [asked, answered, ended]: [u64; 3]) -> Turn {
        Turn {
            line: line.to_owned(),
            asked: at + ms(asked),
            answered: Some(at + ms(answered)),
            ended: Some(at + ms(ended)),
            is_stream: false,
        }
    }

    #[test]
    fn the_parts_of_a_run_add_up_to_the_whole() {
        let at = Instant::now();
        let turns = [
            turn(at, "HEAD /_ping HTTP/1.1", [10, 11, 11]),
            turn(at, "POST /v1.50/containers/create HTTP/1.1", [15, 25, 25]),
            // Answered while the next question is asked already.
            turn(
                at,
                "POST /v1.50/containers/x/wait?condition=removed HTTP/1.1",
                [26, 32, 180],
            ),
            turn(
                at,
                "POST /v1.50/containers/x/start HTTP/1.1",
                [30, 130, 130],
            ),
        ];
        let (before, after) = (
            Steps::read("hull_container_start_step_duration_seconds_sum{step=\"disk\"} 1.5"),
            Steps::read(
                "# HELP\n\
                 hull_container_start_step_duration_seconds_sum{step=\"disk\"} 1.51\n\
                 hull_container_start_step_duration_seconds_sum{step=\"restore\"} 0.02\n\
                 hull_container_start_step_duration_seconds_sum{step=\"configure and exec\"} 0.06\n\
                 hull_container_start_step_duration_seconds_sum{step=\"guest: exec\"} 0.05\n",
            ),
        );
        assert!(!after.booted(&before));
        let span = Span {
            begun: at,
            exited: at + ms(200),
        };
        let parts = run(span, &turns, (&before, &after), at + ms(150)).unwrap();
        let rounded: Vec<u128> = parts
            .iter()
            .map(|(_, time)| (*time + Duration::from_micros(500)).as_millis())
            .collect();
        assert_eq!(rounded, [35, 15, 10, 10, 20, 60, 20, 30]);
        assert_eq!(rounded.iter().sum::<u128>(), 200);
        assert!(run(span, &turns[..3], (&before, &after), at).is_err());
    }

    #[test]
    fn an_exec_is_the_clients_the_daemons_and_the_guests() {
        let at = Instant::now();
        let turns = [
            turn(at, "POST /v1.50/containers/x/exec HTTP/1.1", [10, 12, 12]),
            turn(at, "POST /v1.50/exec/y/start HTTP/1.1", [13, 40, 50]),
        ];
        let span = Span {
            begun: at,
            exited: at + ms(55),
        };
        let parts = exec(span, &turns, at + ms(14), at + ms(44)).unwrap();
        let times: Vec<Duration> = parts.iter().map(|(_, time)| *time).collect();
        assert_eq!(times, [ms(16), ms(9), ms(30)]);
        assert!(exec(span, &turns[..1], at, at).is_err());
    }

    #[test]
    fn an_event_has_its_place_among_instants() {
        let clock = Clock {
            instant: Instant::now(),
            system: Duration::from_secs(1000),
        };
        assert_eq!(clock.unix(), "1000.000000000");
        let events = "{\"Action\":\"start\",\"timeNano\":1000000000001}\n\
                      {\"Action\":\"exec_start: true\",\"timeNano\":1000002000000}\n";
        let at = clock.of_event(events, "exec_start").unwrap();
        assert_eq!(at - clock.instant, ms(2));
        assert!(clock.of_event(events, "die").is_err());
    }
}
