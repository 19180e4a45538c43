//! The VMM's log: one line of text per event, with time, machine, and, when asked for, level and origin.
//!
//! There is one log in a process. It starts as the command line has it; the API can send it elsewhere before the machine starts.
//! Nothing waits for whoever reads it: lines for which a pipe has no room are lost, and counted.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use hull_vm_api::config::{Level, Logger};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, Layer};
use tracing_subscriber::layer::{Layer as _, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// How the log is now.
#[derive(Debug, Default)]
struct Now {
    settings: Logger,
    /// Standard error where there is none.
    file: Option<File>,
    /// Lines for which there was no room, since the last one that was written, and ever.
    lost: u64,
    all_lost: u64,
}

impl Now {
    /// Writes a line if there is room for it.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let stderr = io::stderr();
        let to = self.file.as_ref().map_or(stderr.as_fd(), AsFd::as_fd);
        let mut room = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
        poll(&mut room, Some(&Timespec::default()))?;
        let [room] = room;
        if !room.revents().contains(PollFlags::OUT) {
            self.lost += 1;
            self.all_lost += 1;
            return Ok(());
        }
        let mut text = Vec::new();
        if self.lost > 0 {
            writeln!(text, "{} lines of the log were lost here", self.lost)?;
            self.lost = 0;
        }
        text.extend_from_slice(line);
        match &mut self.file {
            Some(file) => file.write_all(&text),
            None => stderr.lock().write_all(&text),
        }
    }
}

static NOW: OnceLock<Mutex<Now>> = OnceLock::new();

fn now() -> MutexGuard<'static, Now> {
    let now = NOW.get_or_init(Mutex::default);
    now.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts logging: to `file`, or to standard error.
pub(crate) fn start(id: &str, settings: &Logger, file: Option<File>) {
    change(settings, file);
    let line = Line { id: id.to_owned() };
    let layer = Layer::new().event_format(line).with_ansi(false);
    let layer = layer.with_writer(|| Output).with_filter(filter_fn(wanted));
    // It fails only where a log exists already, as in tests; that one then goes on.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}

/// Changes what is logged and how, and, if there is a file, where to.
pub(crate) fn change(settings: &Logger, file: Option<File>) {
    let mut now = now();
    now.settings = settings.clone();
    now.file = file.or(now.file.take());
    drop(now);
    // What is wanted is remembered for each place in the program.
    tracing::callsite::rebuild_interest_cache();
}

/// A second descriptor of the file, if the log goes to one.
pub(crate) fn copy() -> Option<io::Result<File>> {
    now().file.as_ref().map(File::try_clone)
}

/// Lines for which there was no room.
pub(crate) fn lost() -> u64 {
    now().all_lost
}

/// Whether the log goes to a file.
pub(crate) fn is_in_file() -> bool {
    now().file.is_some()
}

fn wanted(event: &Metadata<'_>) -> bool {
    let now = now();
    let settings = &now.settings;
    let module = settings.module.as_deref();
    *event.level() <= filter(settings.level)
        && module.is_none_or(|module| within(module, event.target()))
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

/// Writes where the log goes at the time.
struct Output;

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        now().write(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a line looks.
#[derive(Debug)]
struct Line {
    id: String,
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
        let (level, origin) = {
            let now = now();
            (now.settings.show_level, now.settings.show_log_origin)
        };
        SystemTime.format_time(&mut writer)?;
        write!(writer, " [{}", self.id)?;
        let metadata = event.metadata();
        if level {
            write!(writer, " {}", metadata.level())?;
        }
        if let (true, Some(file), Some(line)) = (origin, metadata.file(), metadata.line()) {
            write!(writer, " {file}:{line}")?;
        }
        write!(writer, "] ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
