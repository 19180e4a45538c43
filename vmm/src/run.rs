//! The process from its command line to its exit status.

use std::io::{self, Read, Write};
use std::sync::Arc;

use hull_vm_api::config::{HostPath, Metrics};
use hull_vm_api::server::Limits;
use hull_vm_api::{Builder, ExitCause, Metadata, Request, VmConfig};
use serde_json::{Map, Value};

use crate::api::{self, Api, Host, Outcome, VERSION};
use crate::args::Args;
use crate::ending::End;
use crate::error::{StartError, with_sources};
use crate::files::{Access, FileError, Files, duplicate};
use crate::log;
use crate::machine::Machine;
use crate::metrics::Figures;
use crate::outside::Outside;
use crate::probe;
use crate::signals::Signals;
use crate::supported;
use crate::timeline::Timeline;

/// No file of JSON that the command line names is longer, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// Runs the machine that the command line names, says on standard error how it ended unless all was well, and returns the
/// cause, whose code is the exit status.
#[must_use]
pub fn run(args: &Args, mut timeline: Timeline) -> ExitCause {
    if args.boot_timer {
        timeline.print();
    }
    let timeline = Arc::new(timeline);
    let (cause, sentence) = match process(args, &timeline) {
        Ok(End { cause, detail }) => match detail {
            Some(detail) => (cause, format!("{cause}: {detail}")),
            None => (cause, cause.to_string()),
        },
        Err(error) => (error.cause(), with_sources(&error)),
    };
    timeline.finish();
    // Once is enough where both go to the same place.
    if cause == ExitCause::PowerOff || log::is_in_file() {
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

fn process(args: &Args, timeline: &Arc<Timeline>) -> Result<End, StartError> {
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
    let mut outside = Outside::new(signals, lifeline);
    let config = configuration(args, &files)?;
    let metadata = metadata(args, &files)?;
    start_log(args, config.as_ref(), &files)?;
    let mut host = Host {
        figures: figures(args, config.as_ref(), timeline, &files)?,
        files,
        timeline: timeline.clone(),
    };
    let api = match &args.api_sock {
        Some(path) => {
            let limits = Limits {
                max_payload: args.http_api_max_payload_size,
                ..Limits::default()
            };
            Some(Api::serve(path, &host.files, limits)?)
        }
        None => None,
    };

    let running = match (config, &api) {
        (Some(config), _) => {
            let machine = Machine::new(&config, &metadata, &host.files, timeline)?;
            machine.start(config.into(), metadata)?
        }
        (None, Some(api)) => {
            let mut builder = Builder::new(&args.id, VERSION, metadata_limit(args));
            if !metadata.value().is_null() {
                let put = Request::PutMmds(metadata.value().clone());
                builder.apply(&put).map_err(StartError::MetadataLimit)?;
            }
            match api::wait(builder, &mut host, api, &mut outside)? {
                Outcome::Started(running) => *running,
                Outcome::Ended(end) => return Ok(end),
            }
        }
        (None, None) => return Err(StartError::NoConfig),
    };
    running.run(&mut outside, api.as_ref(), &mut host)
}

/// The configuration, if the command line names one.
fn configuration(args: &Args, files: &Files) -> Result<Option<VmConfig>, StartError> {
    let Some(path) = &args.config_file else {
        return Ok(None);
    };
    let json = contents("--config-file", path, MAX_CONFIG, files)?;
    let config = VmConfig::parse(&json)?;
    supported::check(&config)?;
    Ok(Some(config))
}

/// What the guest can ask for at first.
fn metadata(args: &Args, files: &Files) -> Result<Metadata, StartError> {
    let mut metadata = Metadata::new(metadata_limit(args));
    if let Some(path) = &args.metadata {
        let json = contents("--metadata", path, MAX_CONFIG, files)?;
        let object: Map<String, Value> =
            serde_json::from_slice(&json).map_err(StartError::Metadata)?;
        let put = metadata.put(Value::Object(object));
        put.map_err(StartError::MetadataLimit)?;
    }
    Ok(metadata)
}

fn metadata_limit(args: &Args) -> usize {
    args.mmds_size_limit
        .unwrap_or(args.http_api_max_payload_size)
}

/// All that is in a file, which must not be longer than `most` bytes.
fn contents(
    what: &'static str,
    path: &HostPath,
    most: u64,
    files: &Files,
) -> Result<Vec<u8>, StartError> {
    let file = files.open(what, path, Access::Read);
    let file = file.map_err(StartError::ConfigFile)?;
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(StartError::host(
            "to read a file that the command line names",
        ))?;
    if bytes.len() as u64 > most {
        return Err(StartError::LongFile { what, most });
    }
    Ok(bytes)
}

/// Starts the log as the configuration has it, except where the command line says otherwise.
fn start_log(args: &Args, config: Option<&VmConfig>, files: &Files) -> Result<(), StartError> {
    let mut settings = config.and_then(|config| config.logger.clone());
    let settings = settings.get_or_insert_default();
    settings.level = args.level.unwrap_or(settings.level);
    settings.show_level |= args.show_level;
    settings.show_log_origin |= args.show_log_origin;
    settings.module = args.module.clone().or(settings.module.take());
    let path = args.log_path.as_ref().or(settings.log_path.as_ref());
    let file = match path {
        Some(path) => Some(files.open("the log's path", path, Access::Append)?),
        None => None,
    };
    log::start(&args.id, settings, file);
    Ok(())
}

/// Opens the file for figures, of the command line or else of the configuration.
fn figures(
    args: &Args,
    config: Option<&VmConfig>,
    timeline: &Arc<Timeline>,
    files: &Files,
) -> Result<Figures, StartError> {
    let mut figures = Figures::new(&args.id, timeline.clone());
    let mut settings = config.and_then(|config| config.metrics.clone());
    if let Some(path) = &args.metrics_path {
        let emit_id = true;
        settings = Some(Metrics {
            emit_id,
            ..Metrics::new(path.clone())
        });
    }
    if let Some(settings) = settings {
        let path = &settings.metrics_path;
        let file = files.open("the metrics' path", path, Access::Append)?;
        figures.send_to(file, settings);
    }
    Ok(figures)
}

/// Tells the person at standard error, if there is one.
fn say(sentence: &str) {
    let _ = writeln!(io::stderr(), "hull-vmm: {sentence}");
}
