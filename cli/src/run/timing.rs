//! `--timing` and `--timing-file`: where the time of a run went.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::args::Args;

/// Measures a run from the start of the command.
#[derive(Debug)]
pub(crate) struct Clock {
    steps: Vec<(String, Duration)>,
    begun: Instant,
    last: Instant,
    /// Tells when the first byte of output went out.
    first_byte: Option<oneshot::Receiver<Instant>>,
    print: bool,
    file: Option<PathBuf>,
}

impl Clock {
    pub(crate) fn start(args: &Args) -> Self {
        Self {
            print: args.timing,
            file: args.timing_file.clone(),
            ..Self::silent()
        }
    }

    /// One that nobody reads.
    pub(crate) fn silent() -> Self {
        let now = Instant::now();
        Self {
            steps: Vec::new(),
            begun: now,
            last: now,
            first_byte: None,
            print: false,
            file: None,
        }
    }

    /// What was done since the step before, or the start, was this.
    pub(crate) fn step(&mut self, name: &'static str) {
        let now = Instant::now();
        self.steps.push((name.to_owned(), now - self.last));
        self.last = now;
    }

    /// The steps of a start as the daemon tells them, in microseconds, and what else that took until now.
    pub(crate) fn started(&mut self, steps: &[(String, u64)]) {
        let mut told = Duration::ZERO;
        for (name, micros) in steps {
            let time = Duration::from_micros(*micros);
            // What happened in the guest is part of another step.
            if !name.starts_with("guest: ") {
                told += time;
            }
            self.steps.push((name.clone(), time));
        }
        let now = Instant::now();
        let rest = (now - self.last).saturating_sub(told);
        self.steps.push(("to the daemon and back".to_owned(), rest));
        self.last = now;
    }

    /// What passes output on says through this when the first byte went out.
    pub(crate) fn first_byte(&mut self) -> oneshot::Sender<Instant> {
        let (sender, receiver) = oneshot::channel();
        self.first_byte = Some(receiver);
        sender
    }

    /// Whether anybody asked.
    pub(crate) fn is_wanted(&self) -> bool {
        self.print || self.file.is_some()
    }

    /// Tells what was asked for; `metrics` are the VMM's.
    pub(crate) fn report(&mut self, metrics: Option<&Value>) -> anyhow::Result<()> {
        if !self.is_wanted() {
            return Ok(());
        }
        let mut all = self.steps.clone();
        if let Some(Ok(at)) = self.first_byte.as_mut().map(oneshot::Receiver::try_recv) {
            all.push(("until the first byte".to_owned(), at - self.begun));
        }
        all.push(("total".to_owned(), self.begun.elapsed()));
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        let mut figures: Vec<(String, f64)> = all
            .into_iter()
            .map(|(name, time)| (name, milliseconds(time)))
            .collect();
        figures.extend(section(metrics, "timeline_ms", "vmm"));
        let exits = section(metrics, "exits", "exits");
        if self.print {
            for (name, time) in &figures {
                anstream::eprintln!("{name:32} {time:>10.1} ms");
            }
            for (name, count) in &exits {
                anstream::eprintln!("{name:32} {count:>8.0}");
            }
        }
        if let Some(path) = &self.file {
            let object: Map<String, Value> = figures
                .into_iter()
                .chain(exits)
                .map(|(name, value)| (name, value.into()))
                .collect();
            fs::write(path, Value::Object(object).to_string())
                .with_context(|| format!("the timing file {} cannot be written", path.display()))?;
        }
        Ok(())
    }
}

/// The numbers of one section of the VMM's metrics, each named after the section.
fn section(metrics: Option<&Value>, section: &str, prefix: &str) -> Vec<(String, f64)> {
    let fields = metrics
        .and_then(|metrics| metrics.get(section))
        .and_then(Value::as_object);
    fields
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((format!("{prefix} {name}"), value.as_f64()?)))
        .collect()
}
