//! What a command says of what goes on inside, on standard error.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How much is said.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// Of other people's crates less: what they find worth a line at `debug` drowns the rest.
    fn filter(self) -> String {
        let own = match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        };
        let others = match self {
            Self::Trace | Self::Debug => "info",
            _ => own,
        };
        ["hull", "hull_engine", "hull_engine_api", "hull_image"]
            .iter()
            .fold(
                format!("{others},rustls_platform_verifier=off"),
                |filter, name| format!("{filter},{name}={own}"),
            )
    }
}

/// In which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; the service manager adds the time
    #[default]
    Text,
    /// One object a line, with the time
    Json,
}

/// What is said, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    /// What a person asked for, which comes before `HULL_LOG`.
    pub(crate) asked: Option<Level>,
    /// What is said where nobody asked for anything.
    pub(crate) usual: Level,
    pub(crate) format: Format,
    /// Whether each line has the time, in text, too: nobody else adds it in a file.
    pub(crate) timed: bool,
}

impl Log {
    /// Of a command, whose errors are all that matters.
    pub(crate) const COMMANDS: Self = Self {
        asked: None,
        usual: Level::Error,
        format: Format::Text,
        timed: false,
    };
}

pub(crate) fn to_stderr(log: Log) {
    let filter = match log.asked {
        Some(level) => EnvFilter::new(level.filter()),
        None => EnvFilter::try_from_env("HULL_LOG")
            .unwrap_or_else(|_| EnvFilter::new(log.usual.filter())),
    };
    let told = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match log.format {
        Format::Text if log.timed => told.init(),
        Format::Text => told.without_time().init(),
        Format::Json => told.json().flatten_event(true).init(),
    }
}
