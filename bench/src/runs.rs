//! `hull run`: from the command to the first byte of the program, and where that time goes.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::contestants::Hull;
use crate::measure::{Process, contains};
use crate::report::Report;

/// How long the daemon may take until it listens.
const LISTENING: Duration = Duration::from_secs(30);

/// A daemon for as long as it is measured with.
struct Daemon(Child);

impl Daemon {
    /// Starts it, and waits until it listens at this socket.
    fn start(mut command: Command, socket: &Path) -> Result<Self> {
        let streams = command.stdin(Stdio::null()).stdout(Stdio::null());
        let daemon = Self(streams.stderr(Stdio::null()).spawn()?);
        let deadline = Instant::now() + LISTENING;
        while UnixStream::connect(socket).is_err() {
            ensure!(Instant::now() < deadline, "hull daemon does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn measure(hull: &Hull, rounds: usize, report: &mut Report) -> Result<()> {
    let home = tempfile::Builder::new().prefix("hull-bench-").tempdir()?;
    let command = |args: &[&str]| {
        let mut command = Command::new(&hull.hull);
        command
            .args(args)
            .env("HULL_NETWORK", "none")
            .env("HULL_ROOT", home.path().join("root"));
        command.env("HULL_RUN", home.path().join("run"));
        command
    };
    let image = hull.images.join("busybox");
    let loaded = command(&["image", "load", "--quiet", "-i"])
        .arg(image)
        .status()?;
    if !loaded.success() {
        bail!("hull image load failed: {loaded}");
    }

    // A container's daemon is there before it, as a rule.
    let _daemon = Daemon::start(command(&["daemon"]), &home.path().join("run/hull.sock"))?;
    let timing = home.path().join("timing.json");
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
        let mut process = Process::start(command(&args).stdout(Stdio::piped()))?;
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
