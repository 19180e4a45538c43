//! The VMM's figures, as JSON objects in a file, one in a line.
//!
//! A line is written when the API asks for it (`FlushMetrics`), every minute, and when the machine has ended.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hull_vm_api::ExitCause;
use hull_vm_api::config::Metrics;
use serde::Serialize;

use crate::counters::{Counters, Exit};
use crate::timeline::Timeline;

/// Between two lines that nobody asked for, as with Firecracker.
const PERIOD: Duration = Duration::from_secs(60);

/// Where figures go.
#[derive(Debug)]
pub(crate) struct Figures {
    id: String,
    timeline: Arc<Timeline>,
    to: Option<Sink>,
}

#[derive(Debug)]
struct Sink {
    file: File,
    settings: Metrics,
    /// When the next line is due.
    due: Instant,
}

/// One line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// When it was written, in milliseconds since 1970.
    utc_timestamp_ms: u128,
    /// The machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<&'a std::collections::BTreeMap<String, String>>,
    /// How it ended, in its last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<ExitCause>,
    /// Milliseconds from the start of the process to each stage.
    timeline_ms: &'a Timeline,
    /// Exits to this process since the start, by kind.
    exits: &'a Counters,
}

impl Figures {
    /// Figures of the machine `id`, which go nowhere yet.
    #[must_use]
    pub(crate) fn new(id: &str, timeline: Arc<Timeline>) -> Self {
        Self {
            id: id.to_owned(),
            timeline,
            to: None,
        }
    }

    /// Sends them to this file from now on.
    pub(crate) fn send_to(&mut self, file: File, settings: Metrics) {
        let due = Instant::now() + PERIOD;
        self.to = Some(Sink {
            file,
            settings,
            due,
        });
    }

    /// How long until the next line is due, if one ever is.
    #[must_use]
    pub(crate) fn due(&self) -> Option<Duration> {
        let to = self.to.as_ref()?;
        Some(to.due.saturating_duration_since(Instant::now()))
    }

    /// Writes a line; nothing if there is no file.
    ///
    /// # Errors
    /// What the host answered.
    pub(crate) fn write(&mut self, exits: &Counters, cause: Option<ExitCause>) -> io::Result<()> {
        let Some(to) = &mut self.to else {
            return Ok(());
        };
        to.due = Instant::now() + PERIOD;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = Line {
            utc_timestamp_ms: now.unwrap_or_default().as_millis(),
            id: to.settings.emit_id.then_some(self.id.as_str()),
            properties: to.settings.properties.as_ref(),
            cause,
            timeline_ms: &self.timeline,
            exits,
        };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        to.file.write_all(&line)
    }

    /// The machine's name.
    #[must_use]
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whether there is a file.
    #[must_use]
    pub(crate) fn go_somewhere(&self) -> bool {
        self.to.is_some()
    }
}

/// Puts the counters into the log.
pub(crate) fn log(exits: &Counters) {
    let of = |exit| exits.of(exit);
    tracing::info!(
        io_in = of(Exit::IoIn),
        io_out = of(Exit::IoOut),
        mmio_read = of(Exit::MmioRead),
        mmio_write = of(Exit::MmioWrite),
        interrupted = of(Exit::Interrupted),
        other = of(Exit::Other),
        unclaimed = of(Exit::Unclaimed),
        "exits"
    );
}
