//! The program: its streams, its surroundings, what it may do, and what happens at its end.

use std::path::PathBuf;

use clap::ValueEnum;

/// A stream that a client is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Program")]
pub(crate) struct Process {
    /// Keep standard input open, and pass it on
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Connect to these streams alone: stdin, stdout, stderr
    #[arg(
        short,
        long,
        value_name = "STREAM",
        value_enum,
        ignore_case = true,
        hide_possible_values = true
    )]
    pub(crate) attach: Vec<Stream>,
    /// Set a variable; NAME alone takes it from this environment
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read variables from a file, one NAME=VALUE in a line
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// The directory that the program starts in
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// The user and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Another group that the program is in
    #[arg(long, value_name = "GROUP")]
    pub(crate) group_add: Vec<String>,
    /// Replace the image's entrypoint; "" takes it away
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Run a small init as process 1, which reaps orphans and passes signals on
    #[arg(long)]
    pub(crate) init: bool,
    /// Add a capability, or ALL
    #[arg(long, value_name = "NAME")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "NAME")]
    pub(crate) cap_drop: Vec<String>,
    /// no-new-privileges: the program can never gain privileges
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// All capabilities and writable /sys and /proc, of the microVM's own kernel
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Set a parameter of the microVM's kernel
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) sysctl: Vec<String>,
    /// The signal that asks the program to stop
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// How many seconds the program may take to stop
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub(crate) stop_timeout: Option<i64>,
    /// Start it again at its end: no, always, unless-stopped, on-failure[:COUNT]
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<String>,
    /// Where its output is kept: json-file, or none
    #[arg(long, value_name = "DRIVER")]
    pub(crate) log_driver: Option<String>,
    /// max-size=SIZE and max-file=COUNT: how much of its output is kept
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) log_opt: Vec<String>,
    /// Put a note on the container, which inspect shows
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<String>,
}
