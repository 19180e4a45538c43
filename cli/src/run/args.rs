//! The options of `hull run`, spelled as Docker's.

use std::path::PathBuf;

use clap::{ArgAction, ValueEnum};

/// When to pull the image first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// Where it is not there yet
    Missing,
    /// Each time
    Always,
    /// Not at all
    Never,
}

/// Run a program from an image in a microVM of its own
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "hull run [OPTIONS] IMAGE [COMMAND] [ARG...]",
    after_help = "Examples:\n  \
        hull run --rm busybox echo hello\n  \
        hull run -it --rm debian                          a shell\n  \
        echo data | hull run -i --rm busybox wc -c        with standard input\n  \
        hull run --rm --cpus 2 --memory 1g debian nproc   with limits\n  \
        hull run --rm --from warm                         goes on from hull snapshot CONTAINER warm\n\n\
        The exit code is the program's own; 128+n after signal n; 125 when hull failed, 126 when the \
        command cannot be executed, 127 when it is not in the image."
)]
pub(crate) struct Args {
    /// Keep standard input open, and pass it on
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Remove the container at its end
    #[arg(long)]
    pub(crate) rm: bool,
    /// A name for the container; a random one otherwise
    #[arg(long)]
    pub(crate) name: Option<String>,
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
    /// Replace the image's entrypoint; "" takes it away
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// The host name of the container
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// How much processor time: 2, or 0.5. The machine has as many CPUs, rounded up
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<String>,
    /// The container's limit of memory: 512m, 1g
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// size=SIZE: how much the container can write, 10g where nothing is said, from 32m to 1t. Only what it writes is taken
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) storage_opt: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Mount an empty file system in memory: PATH or PATH:size=64m,mode=1777
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    pub(crate) tmpfs: Vec<String>,
    /// Add a capability, or ALL
    #[arg(long, value_name = "NAME")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "NAME")]
    pub(crate) cap_drop: Vec<String>,
    /// Run a small init as process 1, which reaps orphans and passes signals on
    #[arg(long)]
    pub(crate) init: bool,
    /// Put a label on the container
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Pull the image first
    #[arg(long, value_enum, default_value_t = Pull::Missing, value_name = "WHEN")]
    pub(crate) pull: Pull,
    /// Show no progress of a pull
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Limit the program: nofile=1024, or nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
    /// no-new-privileges: the program can never gain privileges
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// All capabilities and writable /sys and /proc, of the microVM's own kernel
    #[arg(long)]
    pub(crate) privileged: bool,
    /// The signal that asks the program to stop
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Write the container's id to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Pass signals on to the program
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) sig_proxy: bool,
    /// Go on from a snapshot of a container, with its memory and processes; neither image nor command is given then
    #[arg(long, value_name = "SNAPSHOT", conflicts_with_all = ["image_and_command", "cold", "entrypoint", "env", "env_file", "workdir",
        "user", "cpus", "memory", "storage_opt", "read_only", "tmpfs", "cap_add", "cap_drop", "init", "ulimit", "security_opt", "privileged",
        "stop_signal", "interactive", "tty"])]
    pub(crate) from: Option<String>,
    /// Boot the microVM, instead of starting it as a clone of a template
    #[arg(long)]
    pub(crate) cold: bool,
    /// Show on standard error where the time went
    #[arg(long)]
    pub(crate) timing: bool,
    /// Write where the time went to this file, as a JSON object of milliseconds
    #[arg(long, value_name = "FILE")]
    pub(crate) timing_file: Option<PathBuf>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// The image, then the program and its arguments where they are not the image's own
    #[arg(
        value_name = "IMAGE",
        required_unless_present = "from",
        trailing_var_arg = true,
        num_args = 1..
    )]
    pub(crate) image_and_command: Vec<String>,
}
