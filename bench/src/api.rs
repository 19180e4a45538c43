//! The API of one microVM: how soon it answers after the start of its process, and how fast.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::contestants::{Contestants, Kind, rounds};
use crate::http::{ask, connect, request};
use crate::measure::{Process, Threads, milliseconds};
use crate::report::Report;

/// Requests of one sample.
const REQUESTS: u32 = 2000;

pub(crate) fn measure(contestants: &Contestants, count: usize, report: &mut Report) -> Result<()> {
    let some = contestants.of(&[Kind::Hull, Kind::Firecracker]);
    let question = request("GET", "/machine-config", None);
    let samples = rounds(&some, count, |contestant| {
        let socket = contestants.file("api.sock");
        let _ = std::fs::remove_file(&socket);
        let command = contestants.idle(contestant, &socket);
        let mut command = command.context("it has no API")?;
        let start = Instant::now();
        let process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let mut client = connect(&socket, start)?;
        ask(&mut client, &question)?;
        let ready = start.elapsed();
        let before = Threads::of(process.child.id())?;
        let start = Instant::now();
        for _ in 0..REQUESTS {
            ask(&mut client, &question)?;
        }
        let each = start.elapsed() / REQUESTS;
        let used = Threads::of(process.child.id())?.since(&before);
        let cpu = (used.user + used.system) * 1e6 / f64::from(REQUESTS);
        Ok((milliseconds(ready), milliseconds(each) * 1e3, cpu))
    })?;
    for (contestant, samples) in some.iter().zip(samples) {
        let mut add = |what: &str, unit, figure: fn(&(f64, f64, f64)) -> f64| {
            report.add(
                what,
                contestant.name,
                unit,
                samples.iter().map(figure).collect(),
            );
        };
        add("start to API ready", "ms", |sample| sample.0);
        add("API request", "us", |sample| sample.1);
        add("API request, CPU time", "us", |sample| sample.2);
    }
    Ok(())
}
