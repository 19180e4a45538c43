//! The VMM's log: one line of text per event, with time, machine, and, when asked for, level and origin.
//!
//! There is one log in a process. It starts as the command line has it; the API can send it elsewhere before the machine starts.
//! Nothing waits for whoever reads it: lines for which a pipe has no room are lost, and counted.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hull_vm_api::config::{Level, Logger};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

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
    let log = Log { id: id.to_owned() };
    // It fails only where a log exists already, as in tests; that one then goes on.
    let _ = tracing::subscriber::set_global_default(log);
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

/// Takes the events of the whole program. It is not `tracing-subscriber`'s, whose registry of spans, of which this program has none, has
/// a table of 32 KiB in each of the two processes.
#[derive(Debug)]
struct Log {
    id: String,
}

impl Log {
    fn line(&self, event: &Event<'_>) -> Result<String, fmt::Error> {
        let (level, origin) = {
            let now = now();
            (now.settings.show_level, now.settings.show_log_origin)
        };
        let mut line = String::new();
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = time.unwrap_or_default();
        write_time(&mut line, time.as_secs(), time.subsec_micros())?;
        write!(line, " [{}", self.id)?;
        let metadata = event.metadata();
        if level {
            write!(line, " {}", metadata.level())?;
        }
        if let (true, Some(file), Some(number)) = (origin, metadata.file(), metadata.line()) {
            write!(line, " {file}:{number}")?;
        }
        line.push(']');
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        // A name that a user gave may hold what a terminal obeys, or looks like the next line.
        for character in fields.0.chars() {
            match character.is_control() {
                true => line.extend(character.escape_default()),
                false => line.push(character),
            }
        }
        line.push('\n');
        Ok(line)
    }
}

impl Subscriber for Log {
    fn enabled(&self, event: &Metadata<'_>) -> bool {
        event.is_event() && wanted(event)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(filter(now().settings.level))
    }

    fn event(&self, event: &Event<'_>) {
        // A log that cannot be written has no place to say so.
        let line = self.line(event);
        let _ = line.map(|line| now().write(line.as_bytes()));
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Writes the message of an event, and `name=value` for each other field.
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Strings take whatever is written.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// Writes a time since 1970 as in RFC 3339. libc knows time zones, and opens files for them.
fn write_time(line: &mut String, seconds: u64, micros: u32) -> fmt::Result {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (year, month, day) = date(days);
    write!(
        line,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
    )
}

/// Year, month and day in the Gregorian calendar, from the days since the first of January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // A year that begins in March has its leap day at its end; eras of 400 years are all of the same length.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = match month {
        0..10 => (month + 3, 0),
        _ => (month - 9, 1),
    };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests;
