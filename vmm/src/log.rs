//! The VMM's log: one line of text per event, with time, machine, and, when asked for, level and origin.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Mutex;

use hull_vm_api::config::{Level, Logger};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, Layer};
use tracing_subscriber::layer::{Layer as _, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// How a line looks.
#[derive(Debug)]
struct Line {
    id: String,
    level: bool,
    origin: bool,
}

/// Starts logging: to `file`, or to standard error.
pub(crate) fn start(id: &str, settings: &Logger, file: Option<File>) {
    let line = Line {
        id: id.to_owned(),
        level: settings.show_level,
        origin: settings.show_log_origin,
    };
    let module = settings.module.clone();
    let wanted = filter_fn(move |event: &Metadata<'_>| {
        module
            .as_deref()
            .is_none_or(|module| within(module, event.target()))
    });
    let layer = Layer::new().event_format(line).with_ansi(false);
    let level = filter(settings.level);
    // It fails only where a log exists already, as in tests; that one then goes on.
    let _ = match file {
        Some(file) => tracing_subscriber::registry()
            .with(level)
            .with(layer.with_writer(Mutex::new(file)).with_filter(wanted))
            .try_init(),
        None => tracing_subscriber::registry()
            .with(level)
            .with(layer.with_writer(io::stderr).with_filter(wanted))
            .try_init(),
    };
}

/// Whether a module path is `module` or below it.
fn within(module: &str, path: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warning => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        write!(writer, " [{}", self.id)?;
        let metadata = event.metadata();
        if self.level {
            write!(writer, " {}", metadata.level())?;
        }
        if let (true, Some(file), Some(line)) = (self.origin, metadata.file(), metadata.line()) {
            write!(writer, " {file}:{line}")?;
        }
        write!(writer, "] ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
