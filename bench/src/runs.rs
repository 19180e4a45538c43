//! `hull run`: from the command to the first byte of the program, and where that time goes.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::contestants::Hull;
use crate::daemon::Daemon;
use crate::measure::{Process, contains};
use crate::report::Report;

pub(crate) fn measure(hull: &Hull, rounds: usize, report: &mut Report) -> Result<()> {
    // A container's daemon is there before it, as a rule.
    let daemon = Daemon::start(hull, "busybox")?;
    let timing = daemon.home().join("timing.json");
    let file = timing.to_string_lossy().into_owned();
    let (mut first_byte, mut end) = (Vec::new(), Vec::new());
    let mut steps: Vec<(String, Vec<f64>)> = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let args = [
            "run",
            "--rm",
            "--timing-file",
            &file,
            "busybox",
            "echo",
            "first",
        ];
        let mut process = Process::start(daemon.hull(&args).stdout(Stdio::piped()))?;
        let stdout = process.child.stdout.take().context("no standard output")?;
        if !contains(stdout, "first")? {
            bail!("hull run printed nothing: {}", process.child.wait()?);
        }
        first_byte.push(start.elapsed().as_secs_f64() * 1000.0);
        process.child.wait()?;
        end.push(start.elapsed().as_secs_f64() * 1000.0);
        let parsed: Value = serde_json::from_slice(&fs::read(&timing)?)?;
        for (name, value) in parsed.as_object().into_iter().flatten() {
            let Some(value) = value.as_f64() else {
                continue;
            };
            match steps.iter_mut().find(|(known, _)| known == name) {
                Some((_, samples)) => samples.push(value),
                None => steps.push((name.clone(), vec![value])),
            }
        }
    }
    report.add("hull run to first byte", "hull", "ms", first_byte);
    report.add("hull run to exit", "hull", "ms", end);
    for (name, samples) in steps {
        let unit = if name.starts_with("exits") {
            "exits"
        } else {
            "ms"
        };
        report.add(&format!("hull run: {name}"), "hull", unit, samples);
    }
    Ok(())
}
