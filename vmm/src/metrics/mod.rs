//! The VMM's figures: what it and its devices count, written to a file and told to who asks.
//!
//! They are written when the API asks for it (`FlushMetrics`), every minute or as it says, and when the machine has ended: a line of JSON behind
//! those that are there, as Firecracker does it ([`json`]), or Prometheus' text in the place of the one before ([`prometheus`]), which
//! the API has too. Whoever counts, counts without a lock ([`hull_devices::metrics`]), so a device that is stuck holds nobody up here.

mod api;
pub mod exits;
mod json;
mod own;
mod prometheus;
mod sections;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Seek, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hull_vm_api::ExitCause;
use hull_vm_api::config::{Metrics, MetricsFormat};
use hull_vm_api::server::Requests;
use serde::{Deserialize, Serialize};

use crate::api::VERSION;
use crate::log;
use crate::timeline::Timeline;
use api::Asked;
use exits::{Exit, Exits};
use own::{LoggerCounters, MachineCounters, StartupCounters};

pub(crate) use own::{InterruptCounters, Latencies};
pub(crate) use sections::Source;

/// What is counted, and where it goes.
#[derive(Debug)]
pub(crate) struct Figures {
    id: String,
    timeline: Arc<Timeline>,
    startup: Arc<StartupCounters>,
    logger: Arc<LoggerCounters>,
    restarts: Arc<MachineCounters>,
    asked: Asked,
    /// What the two last are made of.
    counted: Counted,
    /// Those of the process.
    own: Vec<Source>,
    /// Those of the machine, once it is there.
    machine: Vec<Source>,
    exits: Option<Arc<Exits>>,
    to: Option<Sink>,
}

/// What the keeper counts: it goes with all that it tells the machine's process, which writes it down.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counted {
    startup_us: u64,
    startup_cpu_us: u64,
    requests: Requests,
}

#[derive(Debug)]
struct Sink {
    file: File,
    settings: Metrics,
    /// When the next writing is due, if one ever is that nobody asked for.
    due: Option<Instant>,
    before: json::Before,
}

/// When they are written again.
fn next(settings: &Metrics) -> Option<Instant> {
    let interval = Duration::from_secs(settings.interval_s.into());
    (!interval.is_zero()).then(|| Instant::now() + interval)
}

impl Figures {
    /// Figures of the machine `id`, which go nowhere yet.
    #[must_use]
    pub(crate) fn new(id: &str, timeline: Arc<Timeline>) -> Self {
        let startup = Arc::<StartupCounters>::default();
        let logger = Arc::<LoggerCounters>::default();
        let restarts = Arc::<MachineCounters>::default();
        let asked = Asked::default();
        let mut own = asked.sources();
        own.push(Source::new("api_server", startup.clone()));
        own.push(Source::new("logger", logger.clone()));
        own.push(Source::new("machine", restarts.clone()));
        Self {
            id: id.to_owned(),
            timeline,
            startup,
            logger,
            restarts,
            asked,
            counted: Counted::default(),
            own,
            machine: Vec::new(),
            exits: None,
            to: None,
        }
    }

    /// The API is served from now on.
    pub(crate) fn serve(&mut self) {
        let (real, cpu) = self.timeline.elapsed();
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.learn(Counted {
            startup_us: us(real),
            startup_cpu_us: us(cpu),
            requests: Requests::default(),
        });
    }

    /// So much was asked of the API by now.
    pub(crate) fn requests(&mut self, requests: Requests) {
        self.learn(Counted {
            requests,
            ..self.counted
        });
    }

    /// What was counted by the keeper.
    #[must_use]
    pub(crate) fn counted(&self) -> Counted {
        self.counted.clone()
    }

    /// The keeper counted this.
    pub(crate) fn learn(&mut self, counted: Counted) {
        let startup = &self.startup;
        startup.process_startup_time_us.set(counted.startup_us);
        startup
            .process_startup_time_cpu_us
            .set(counted.startup_cpu_us);
        self.asked.set(counted.requests.clone());
        self.counted = counted;
    }

    /// There is a machine now, with all who count there.
    pub(crate) fn measure(&mut self, exits: Arc<Exits>, machine: Vec<Source>) {
        self.exits = Some(exits);
        self.machine = machine;
    }

    /// The machine's guest is about to be started again, in another machine: what this one counted is written now.
    pub(crate) fn start_again(&mut self) {
        self.restarts.restarts.count();
        if let Err(error) = self.write(None) {
            tracing::warn!("metrics could not be written: {error}");
        }
        self.exits = None;
        self.machine.clear();
        // The next one begins to count where this one did.
        let own = json::since(&json::Before::new(), &sections::collect(&self.own)).1;
        if let Some(to) = &mut self.to {
            to.before.retain(|section, _| own.contains_key(section));
        }
    }

    /// Sends them to this file from now on.
    pub(crate) fn send_to(&mut self, file: File, settings: Metrics) {
        self.to = Some(Sink {
            file,
            due: next(&settings),
            settings,
            before: json::Before::new(),
        });
    }

    /// How long until the next writing is due, if one ever is.
    #[must_use]
    pub(crate) fn due(&self) -> Option<Duration> {
        let to = self.to.as_ref()?;
        Some(to.due?.saturating_duration_since(Instant::now()))
    }

    /// Writes them; nothing if there is no file. What cannot be written is in the next line.
    ///
    /// # Errors
    /// What the host answered.
    pub(crate) fn write(&mut self, cause: Option<ExitCause>) -> io::Result<()> {
        let Some(mut to) = self.to.take() else {
            return Ok(());
        };
        to.due = next(&to.settings);
        self.logger.missed_log_count.set(log::lost());
        let written = match to.settings.format {
            MetricsFormat::Json => self.write_line(&mut to, cause),
            MetricsFormat::Prometheus => {
                let text = self.text(to.settings.properties.as_ref(), cause);
                replace(&mut to.file, text.as_bytes())
            }
        };
        if written.is_err() {
            self.logger.missed_metrics_count.count();
        }
        self.to = Some(to);
        written
    }

    /// Writes the last ones. Whoever does not take them is told of in the log: the machine's end is none the worse for it.
    pub(crate) fn write_last(&mut self, cause: ExitCause) {
        if let Err(error) = self.write(Some(cause)) {
            tracing::warn!("the last metrics could not be written: {error}");
        }
    }

    fn write_line(&self, to: &mut Sink, cause: Option<ExitCause>) -> io::Result<()> {
        let absent = sections::absent();
        let all = sections::collect(absent.iter().chain(self.sources()));
        let (sections, now) = json::since(&to.before, &all);
        let utc = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = json::Line {
            utc_timestamp_ms: utc.unwrap_or_default().as_millis(),
            id: to.settings.emit_id.then_some(self.id.as_str()),
            properties: to.settings.properties.as_ref(),
            cause,
            timeline_ms: &self.timeline,
            exits: self.exits.as_deref(),
            sections,
        };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        to.file.write_all(&line)?;
        to.before = now;
        Ok(())
    }

    /// All of them now, in Prometheus' text form.
    #[must_use]
    pub(crate) fn now(&self) -> String {
        self.logger.missed_log_count.set(log::lost());
        let settings = self.to.as_ref().map(|to| &to.settings);
        let properties = settings.and_then(|settings| settings.properties.as_ref());
        self.text(properties, None)
    }

    fn text(
        &self,
        properties: Option<&std::collections::BTreeMap<String, String>>,
        cause: Option<ExitCause>,
    ) -> String {
        let machine = prometheus::Machine {
            id: &self.id,
            version: VERSION,
            properties,
            cause,
            timeline: &self.timeline,
        };
        prometheus::text(&machine, &sections::collect(self.sources()))
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.own.iter().chain(&self.machine)
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

/// Puts the text in the place of what a file has; to a pipe or a socket it is just written.
fn replace(file: &mut File, text: &[u8]) -> io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
        // A descriptor that was handed over need not be one that appends.
        file.rewind()?;
    }
    file.write_all(text)
}

/// Puts the exits into the log.
pub(crate) fn log(exits: &Exits) {
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
