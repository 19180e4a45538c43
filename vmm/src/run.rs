//! The process from its command line to its exit status.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use hull_vm_api::config::{HostPath, Logger, Metrics};
use hull_vm_api::request::SnapshotLoad;
use hull_vm_api::server::Limits;
use hull_vm_api::{Builder, Draft, ExitCause, Metadata, Request, VmConfig};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::api::VERSION;
use crate::args::Args;
use crate::error::{StartError, with_sources};
use crate::files::{Access, FileError, duplicate};
use crate::inside;
use crate::keeper::channel::Channel;
use crate::keeper::child::{self, Child, Ends, Side};
use crate::keeper::message::Ended;
use crate::keeper::opening::{self, Opener};
use crate::keeper::{Api, Broker, Keeper, Plan};
use crate::log;
use crate::memory;
use crate::metrics::Figures;
use crate::outside::Outside;
use crate::probe;
use crate::program;
use crate::sandbox::{Cgroups, Sandbox, seccomp};
use crate::signals::Signals;
use crate::snapshot::format;
use crate::timeline::Timeline;

/// No file of JSON that the command line names is longer, in bytes.
const MAX_CONFIG: u64 = 1 << 20;
const MAX_CONFIG_BYTES: usize = 1 << 20;

/// Runs the machine that the command line names, says on standard error how it ended unless all was well, and returns the
/// cause, whose code is the exit status.
///
/// Call this while the process has a single thread: it makes the machine's process, in which it returns as well.
#[must_use]
pub fn run(args: &Args, mut timeline: Timeline) -> ExitCause {
    program::share_heap();
    if args.boot_timer {
        timeline.print();
    }
    if let Some(start) = args.start_time_us {
        timeline.begin_at(start);
    }
    timeline.count_cpu(args.start_time_cpu_us, args.parent_cpu_time_us);
    let (cause, sentence) = match split(args) {
        Ok(Half::Machine(sandbox, ends)) => return inside::run(args, timeline, &sandbox, ends),
        Ok(Half::Keeper(kept)) => {
            let timeline = Arc::new(timeline);
            match keep(args, &timeline, kept) {
                Ok(ended) => ended.into_words(),
                Err(error) => {
                    timeline.finish();
                    (error.cause(), with_sources(&error))
                }
            }
        }
        Err(error) => (error.cause(), with_sources(&error)),
    };
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

/// Prints which system calls each kind of thread may make, as one JSON object.
#[must_use]
pub fn print_filters() -> ExitCause {
    match writeln!(io::stdout(), "{}", seccomp::all_lists()) {
        Ok(()) => ExitCause::PowerOff,
        Err(_) => ExitCause::Failure,
    }
}

/// Prints the version of the format of a snapshot's state file, or of those that are written. The file's body is not read.
#[must_use]
pub fn print_snapshot_version(path: Option<&Path>) -> ExitCause {
    let version = match path {
        None => Ok(format::VERSION),
        Some(path) => format::version(path),
    };
    match version {
        Ok(version) => match writeln!(io::stdout(), "v{version}.0.0") {
            Ok(()) => ExitCause::PowerOff,
            Err(_) => ExitCause::Failure,
        },
        Err(error) => {
            let path = path.unwrap_or(Path::new("the snapshot"));
            say(&format!("{}: {}", path.display(), with_sources(&error)));
            ExitCause::BadConfig
        }
    }
}

/// Which process this is, with what it has.
enum Half {
    Keeper(Kept),
    Machine(Sandbox, Ends),
}

/// What the keeper has from the beginning.
struct Kept {
    signals: Signals,
    child: Child,
    ends: Ends,
    cgroups: Cgroups,
}

/// Makes the machine's process. Signals are collected before, so that those to the whole group do not reach it.
fn split(args: &Args) -> Result<Half, StartError> {
    if let Some((flag, reason)) = args.refused() {
        return Err(StartError::Refused(flag, reason));
    }
    let signals = Signals::collect().map_err(StartError::host("to collect signals"))?;
    let sandbox = Sandbox::choose(args);
    let cgroups = sandbox.prepare(&args.id);
    // Why it is not there is found out when somebody wants a machine.
    let kvm = opening::kvm().ok();
    let side = child::split(sandbox.namespaces(), cgroups.unified(), kvm);
    match side.map_err(|error| sandbox.refused(error))? {
        Side::Keeper(child, ends) => Ok(Half::Keeper(Kept {
            signals,
            child,
            ends,
            cgroups,
        })),
        Side::Machine(ends) => {
            cgroups.join();
            let closed = child::close_all_but(&ends);
            std::mem::forget((signals, cgroups));
            closed.map_err(StartError::host("to close descriptors"))?;
            Ok(Half::Machine(sandbox, ends))
        }
    }
}

/// Keeps the machine to its end.
fn keep(args: &Args, timeline: &Arc<Timeline>, kept: Kept) -> Result<Ended, StartError> {
    let Kept {
        signals,
        child,
        ends,
        cgroups,
    } = kept;
    seccomp::watch().map_err(StartError::host("a handler for violations"))?;
    let opener = Opener::new(&args.fds)?;
    let lifeline = match args.lifeline {
        Some(number) => Some(duplicate(number).map_err(|_| FileError::ClosedFd {
            name: "--lifeline".to_owned(),
            number,
        })?),
        None => None,
    };
    let mut outside = Outside::new(signals, lifeline);
    let config = configuration(args, &opener)?;
    let load = load(args, &opener)?;
    let metadata = metadata(args, &opener)?;
    let logger = start_log(args, config.as_ref(), &opener)?;
    let metrics = metrics(args, config.as_ref(), &opener)?;
    let mut figures = Figures::new(&args.id, timeline.clone());
    let api = match args.api() {
        Some(path) => {
            let limits = Limits {
                max_payload: args.http_api_max_payload_size,
                ..Limits::default()
            };
            let api = Api::serve(&path, &opener, limits, args.filter())?;
            figures.serve();
            Some(api)
        }
        None => None,
    };
    let plan = match (config, load) {
        (Some(config), _) => Plan::Config(Box::new(config), metadata),
        (None, Some(load)) => Plan::Snapshot(Box::new(load), metadata),
        (None, None) => Plan::Api(Box::new(builder(args, &metadata)?)),
    };
    // The longest answers hold metadata, or a configuration; as a text in JSON they can be several times as long.
    let longest = (MAX_CONFIG_BYTES + metadata_limit(args)).saturating_mul(8);
    let mut broker = Broker::new(ends.asks, opener);
    let metrics = metrics.map(|(settings, file)| {
        broker.send_metrics_to(file);
        settings
    });
    let keeper = Keeper {
        outside: &mut outside,
        api,
        channel: Channel::new(ends.channel, longest)
            .map_err(StartError::host("a channel to the machine"))?,
        broker,
        child,
        logger,
        metrics,
        figures,
        draft: Draft::default(),
        cgroups,
        filter: args.filter(),
        kernel_args: kernel_args(args)?,
        forgets: None,
    };
    keeper.keep(plan)
}

/// A configuration that the API is to fill.
fn builder(args: &Args, metadata: &Metadata) -> Result<Builder, StartError> {
    let mut builder = Builder::new(&args.id, VERSION, metadata_limit(args));
    if !metadata.value().is_null() {
        let put = Request::PutMmds(metadata.value().clone());
        builder.apply(&put).map_err(StartError::MetadataLimit)?;
    }
    Ok(builder)
}

/// The configuration, if the command line names one.
fn configuration(args: &Args, opener: &Opener) -> Result<Option<VmConfig>, StartError> {
    let Some(path) = &args.config_file else {
        return Ok(None);
    };
    let json = contents("--config-file", path, MAX_CONFIG, opener)?;
    let config = VmConfig::parse(&json)?;
    memory::check(&config.machine_config)?;
    Ok(Some(config))
}

/// The snapshot to go on from, if the command line names one.
fn load(args: &Args, opener: &Opener) -> Result<Option<SnapshotLoad>, StartError> {
    let Some(path) = &args.load_file else {
        return Ok(None);
    };
    let json = contents("--load-file", path, MAX_CONFIG, opener)?;
    let load = serde_json::from_slice(&json);
    load.map(Some).map_err(StartError::LoadFile)
}

/// What the guest can ask for at first.
fn metadata(args: &Args, opener: &Opener) -> Result<Metadata, StartError> {
    let mut metadata = Metadata::new(metadata_limit(args));
    if let Some(path) = &args.metadata {
        let json = contents("--metadata", path, MAX_CONFIG, opener)?;
        let read = Metadata::read(&json).map_err(StartError::Metadata)?;
        let put = metadata.put(read);
        put.map_err(StartError::MetadataLimit)?;
    }
    Ok(metadata)
}

/// What this host's KVM wants of kernels, if they are to be told.
fn kernel_args(args: &Args) -> Result<String, StartError> {
    if !args.host_args {
        return Ok(String::new());
    }
    let profile = probe::run()?;
    let mut kernel_args = profile.kernel_args();
    if profile.interpreted() {
        // An interpreter that is interpreted: reading ACPI's tables is most of such a kernel's boot.
        kernel_args.push_str(" acpi=off");
    }
    Ok(kernel_args)
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
    opener: &Opener,
) -> Result<Vec<u8>, StartError> {
    let file = opener.open(what, path, Access::Input);
    let mut file = file.map_err(StartError::ConfigFile)?.take(most + 1);
    let mut bytes = Vec::new();
    let read = loop {
        match file.read_to_end(&mut bytes) {
            // It is a pipe, of which more is to come.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => await_more(file.get_ref())?,
            read => break read,
        }
    };
    read.map_err(StartError::host(UNREADABLE))?;
    if bytes.len() as u64 > most {
        return Err(StartError::LongFile { what, most });
    }
    Ok(bytes)
}

const UNREADABLE: &str = "to read a file that the command line names";
/// How long whoever writes into a pipe may be silent.
const SILENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

fn await_more(file: &File) -> Result<(), StartError> {
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&SILENCE)) {
        Ok(0) => Err(StartError::host(UNREADABLE)(io::Error::from(
            io::ErrorKind::TimedOut,
        ))),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(StartError::host(UNREADABLE)(error)),
    }
}

/// Starts the log as the configuration has it, except where the command line says otherwise, and tells how it is.
fn start_log(
    args: &Args,
    config: Option<&VmConfig>,
    opener: &Opener,
) -> Result<Logger, StartError> {
    let settings = config.and_then(|config| config.logger.clone());
    let mut settings = settings.unwrap_or_default();
    settings.level = args.level.unwrap_or(settings.level);
    settings.show_level |= args.show_level;
    settings.show_log_origin |= args.show_log_origin;
    settings.module = args.module.clone().or(settings.module.take());
    settings.log_path = args.log_path.clone().or(settings.log_path.take());
    let file = match &settings.log_path {
        Some(path) => Some(opener.open("the log's path", path, Access::Append)?),
        None => None,
    };
    log::start(&args.id, &settings, file);
    Ok(settings)
}

/// Opens the file for figures, of the command line or else of the configuration.
fn metrics(
    args: &Args,
    config: Option<&VmConfig>,
    opener: &Opener,
) -> Result<Option<(Metrics, File)>, StartError> {
    let mut settings = config.and_then(|config| config.metrics.clone());
    if let Some(path) = &args.metrics_path {
        let emit_id = true;
        settings = Some(Metrics {
            emit_id,
            ..Metrics::new(path.clone())
        });
    }
    if let (Some(settings), true) = (&mut settings, args.metrics_at_end) {
        settings.interval_s = 0;
    }
    let Some(settings) = settings else {
        return Ok(None);
    };
    let path = &settings.metrics_path;
    let file = opener.open("the metrics' path", path, Access::Append)?;
    Ok(Some((settings, file)))
}

/// Tells the person at standard error, if there is one.
fn say(sentence: &str) {
    let _ = writeln!(io::stderr(), "hull-vmm: {sentence}");
}
