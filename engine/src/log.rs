//! A container's output as it is kept: lines of JSON, in the form of Docker's driver `json-file`, so that whatever collects those
//! collects these.
//!
//! The owner of the container writes ([`LogWriter`]), whoever wants to reads ([`Logs`]). A line has the program's line with the end of
//! it, the stream, and the time at which it was whole; one that is longer than [`LONGEST_LINE`] comes in pieces, of which
//! the last alone has an end.

mod reader;
mod writer;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use reader::read;
pub use reader::{LogEntry, Logs, LogsWanted};
pub(crate) use writer::LogWriter;

use crate::attachment::OutputStream;

/// A line of more bytes is written in pieces, as Docker does.
const LONGEST_LINE: usize = 16 * 1024;

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    stream: OutputStream,
    time: Timestamp,
}

/// The file before `path` was begun anew for the `age`-th time.
fn rotated(path: &Path, age: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
