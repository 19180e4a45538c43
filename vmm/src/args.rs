//! The command line.

use std::os::fd::RawFd;

use clap::{Parser, Subcommand};
use hull_vm_api::config::{HostPath, Level};
use hull_vm_api::server::Limits;

/// Run one microVM in this process.
#[derive(Debug, Parser)]
#[command(name = "hull-vmm", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Something else than to run a microVM
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Serve the API at this Unix socket; without --config-file the microVM waits for its start there
    #[arg(long, value_name = "PATH")]
    pub api_sock: Option<HostPath>,

    /// Configuration of the microVM, in JSON; it starts at once
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<HostPath>,

    /// Serve no API; the configuration file is all there is
    #[arg(long, requires = "config_file", conflicts_with = "api_sock")]
    pub no_api: bool,

    /// Contents of the metadata service at first: a JSON object
    #[arg(long, value_name = "FILE")]
    pub metadata: Option<HostPath>,

    /// Most bytes in the body of a request to the API
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().max_payload)]
    pub http_api_max_payload_size: usize,

    /// Most bytes of JSON in the metadata service; if not given, as for the body of a request
    #[arg(long, value_name = "BYTES")]
    pub mmds_size_limit: Option<usize>,

    /// Name of the microVM, for its log: letters, digits and dashes
    #[arg(long, default_value = "hull", value_parser = parse_id)]
    pub id: String,

    /// Descriptor that the configuration calls fd:NAME; can be given several times
    #[arg(long = "fd", value_name = "NAME=NUMBER", value_parser = parse_fd)]
    pub fds: Vec<(String, RawFd)>,

    /// Read end of a pipe; when its other end closes, this process ends
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(RawFd).range(0..))]
    pub lifeline: Option<RawFd>,

    /// Print when the stages of the boot were reached
    #[arg(long)]
    pub boot_timer: bool,

    /// Log to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    pub log_path: Option<HostPath>,

    /// How much to log: Off, Error, Warning, Info, Debug or Trace
    #[arg(long)]
    pub level: Option<Level>,

    /// Have each line of the log say its level
    #[arg(long)]
    pub show_level: bool,

    /// Have each line of the log say where in the source it comes from
    #[arg(long)]
    pub show_log_origin: bool,

    /// Log only what comes from this module path and below, such as hull_devices::block
    #[arg(long, value_name = "PATH")]
    pub module: Option<String>,

    /// Write figures to this file, a line of JSON each time: when asked to, every minute, and at the end
    #[arg(long, value_name = "FILE")]
    pub metrics_path: Option<HostPath>,
}

/// What the program does besides.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find out what this host's KVM does with a guest's kernel, and print it in JSON
    Probe,
}

fn parse_id(id: &str) -> Result<String, String> {
    let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain && (1..=64).contains(&id.len()) {
        return Ok(id.to_owned());
    }
    Err("it must be 1 to 64 letters, digits and dashes".to_owned())
}

fn parse_fd(text: &str) -> Result<(String, RawFd), String> {
    let parsed = text
        .split_once('=')
        .and_then(|(name, number)| Some((name, number.parse::<RawFd>().ok()?)));
    match parsed {
        Some((name, number)) if !name.is_empty() && number >= 0 => Ok((name.to_owned(), number)),
        _ => Err("it must be a name, =, and the number of an open descriptor".to_owned()),
    }
}
