//! The process from its command line to its exit status.

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;

use hull_vm_api::{ExitCause, VmConfig};

use crate::args::Args;
use crate::ending::End;
use crate::error::StartError;
use crate::files::{Access, FileError, Files, duplicate};
use crate::log;
use crate::machine::{Machine, Surroundings};
use crate::metrics::Metrics;
use crate::probe;
use crate::signals::Signals;
use crate::supported;
use crate::timeline::Timeline;

/// No configuration is longer, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// Runs the machine that the command line names, says on standard error how it ended unless all was well, and returns the
/// cause, whose code is the exit status.
#[must_use]
pub fn run(args: &Args, mut timeline: Timeline) -> ExitCause {
    if args.boot_timer {
        timeline.print();
    }
    let timeline = Arc::new(timeline);
    let mut log = LogTo::Stderr;
    let (cause, sentence) = match machine(args, &timeline, &mut log) {
        Ok(End { cause, detail }) => match detail {
            Some(detail) => (cause, format!("{cause}: {detail}")),
            None => (cause, cause.to_string()),
        },
        Err(error) => (error.cause(), with_sources(&error)),
    };
    timeline.finish();
    // Once is enough where both go to the same place.
    if cause == ExitCause::PowerOff || log == LogTo::File {
        tracing::info!("{sentence}");
    }
    if cause != ExitCause::PowerOff {
        say(&sentence);
    }
    cause
}

/// Prints what this host's KVM does, and what a guest's kernel must therefore be told, as one JSON object.
#[must_use]
pub fn print_profile() -> ExitCause {
    match probe::run() {
        Ok(profile) => match writeln!(io::stdout(), "{}", profile.to_json()) {
            Ok(()) => ExitCause::PowerOff,
            Err(_) => ExitCause::Failure,
        },
        Err(error) => {
            say(&with_sources(&error));
            ExitCause::NoKvm
        }
    }
}

/// Where the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogTo {
    Stderr,
    File,
}

fn machine(args: &Args, timeline: &Arc<Timeline>, log: &mut LogTo) -> Result<End, StartError> {
    // Before there is a second thread, which would not have them blocked.
    let signals = Signals::collect().map_err(StartError::host("to collect signals"))?;
    let files = Files::new(&args.fds)?;
    let lifeline = match args.lifeline {
        Some(number) => Some(duplicate(number).map_err(|_| FileError::ClosedFd {
            name: "--lifeline".to_owned(),
            number,
        })?),
        None => None,
    };
    let config = read_config(args, &files)?;
    *log = start_log(args, &config, &files)?;
    let metrics = match &args.metrics_path {
        Some(path) => Some(files.open("--metrics-path", path, Access::Append)?),
        None => None,
    };

    let around = Surroundings {
        files,
        signals,
        lifeline,
        timeline: timeline.clone(),
    };
    let machine = Machine::new(&config, around)?;
    let counters = machine.counters();
    let end = machine.run()?;

    let figures = Metrics {
        id: &args.id,
        cause: end.cause,
        timeline_ms: timeline,
        exits: &counters,
    };
    figures.log();
    if let Some(file) = metrics {
        let written = figures.write(file);
        written.map_err(StartError::host("to write --metrics-path"))?;
    }
    Ok(end)
}

fn read_config(args: &Args, files: &Files) -> Result<VmConfig, StartError> {
    let path = args.config_file.as_ref().ok_or(StartError::NoConfig)?;
    let file = files
        .open("--config-file", path, Access::Read)
        .map_err(StartError::ConfigFile)?;
    let mut json = Vec::new();
    file.take(MAX_CONFIG + 1)
        .read_to_end(&mut json)
        .map_err(StartError::host("to read --config-file"))?;
    if json.len() as u64 > MAX_CONFIG {
        return Err(StartError::LongConfig(MAX_CONFIG));
    }
    let config = VmConfig::parse(&json)?;
    supported::check(&config)?;
    Ok(config)
}

/// Starts the log as the configuration has it, except where the command line says otherwise.
fn start_log(args: &Args, config: &VmConfig, files: &Files) -> Result<LogTo, StartError> {
    let mut settings = config.logger.clone().unwrap_or_default();
    if let Some(level) = args.level {
        settings.level = level;
    }
    let path = args.log_path.as_ref().or(settings.log_path.as_ref());
    let file = match path {
        Some(path) => Some(files.open("the log's path", path, Access::Append)?),
        None => None,
    };
    let to = match file {
        Some(_) => LogTo::File,
        None => LogTo::Stderr,
    };
    log::start(&args.id, &settings, file);
    Ok(to)
}

/// Tells the person at standard error, if there is one.
fn say(sentence: &str) {
    let _ = writeln!(io::stderr(), "hull-vmm: {sentence}");
}

/// An error with what it came from.
fn with_sources(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        sentence.push_str(": ");
        sentence.push_str(&error.to_string());
        source = error.source();
    }
    sentence
}
