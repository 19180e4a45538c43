//! The command line.

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand};
use hull_vm_api::config::{HostPath, Level};
use hull_vm_api::server::Limits;

use crate::sandbox::seccomp::Level as Filter;

/// Run one microVM in this process.
#[derive(Debug, Parser)]
#[command(name = "hull-vmm", version, args_conflicts_with_subcommands = true)]
#[command(group(ArgGroup::new("source").args(["config_file", "load_file"])))]
pub struct Args {
    /// Something else than to run a microVM
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Serve the API at this Unix socket; without --config-file or --load-file the microVM waits for its start there, and if no socket is named
    /// either, at /run/firecracker.socket
    #[arg(long, value_name = "PATH")]
    pub api_sock: Option<HostPath>,

    /// Configuration of the microVM, in JSON; it starts at once
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<HostPath>,

    /// Body of a request to /snapshot/load, in JSON; the microVM goes on from that snapshot at once
    #[arg(long, value_name = "FILE", conflicts_with = "config_file")]
    pub load_file: Option<HostPath>,

    /// Serve no API; the file is all there is
    #[arg(long, requires = "source", conflicts_with = "api_sock")]
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

    /// Put before the kernel's arguments what `hull-vmm probe` says that this host's KVM wants of kernels: nothing where the
    /// processor runs them
    #[arg(long)]
    pub host_args: bool,

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

    /// Memory that the microVM will have, in MiB, where that is known before anything else of it: what /snapshot/load needs for as much is
    /// made ahead then, and any other size still works
    #[arg(long, value_name = "MIB")]
    pub expect_mem: Option<u64>,

    /// Filter no system calls
    #[arg(long, conflicts_with = "seccomp_level")]
    pub no_seccomp: bool,

    /// Which system calls are let through: 0 all, 1 those that are needed, 2 those with the arguments that are needed
    #[arg(long, value_name = "LEVEL", default_value = "2", value_parser = parse_level)]
    pub seccomp_level: Filter,

    /// Refused: the filters are part of the program
    #[arg(long, value_name = "FILE")]
    pub seccomp_filter: Option<String>,

    /// Confine nothing: for hosts that forbid namespaces, and for debuggers. Whoever breaks out of the guest has this user's rights
    #[arg(long)]
    pub no_sandbox: bool,

    /// When whoever starts this process began to, in microseconds of the monotonic clock; stages are counted from there
    #[arg(long, value_name = "MICROSECONDS")]
    pub start_time_us: Option<u64>,

    /// Processor time that this process had used when that began, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub start_time_cpu_us: Option<u64>,

    /// Processor time that whoever starts this process has used for it, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub parent_cpu_time_us: Option<u64>,

    /// Refused: there is no PCI yet
    #[arg(long)]
    pub enable_pci: bool,

    /// Print the version of the format of a snapshot's state file
    #[arg(long, value_name = "FILE")]
    pub describe_snapshot: Option<PathBuf>,

    /// Print the version of the format of snapshots that are written
    #[arg(long)]
    pub snapshot_version: bool,

    /// Write figures to this file, a line of JSON each time: when asked to, every minute, and at the end
    #[arg(long, value_name = "FILE")]
    pub metrics_path: Option<HostPath>,

    /// Write them when asked to and at the end only, not every minute
    #[arg(long)]
    pub metrics_at_end: bool,
}

/// What the program does besides.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find out what this host's KVM does with a guest's kernel, and print it in JSON
    Probe,
    /// Print which system calls each kind of thread may make, in JSON
    Seccomp,
}

/// Where Firecracker has its API if it is not told.
const DEFAULT_API: &str = "/run/firecracker.socket";

impl Args {
    /// The API's socket, if there is to be one: a machine that starts from a file has none unless it was named.
    #[must_use]
    pub fn api(&self) -> Option<HostPath> {
        let waits = self.config_file.is_none() && self.load_file.is_none();
        let default = || waits.then(|| DEFAULT_API.into());
        self.api_sock.clone().or_else(default)
    }

    /// How much of system calls is looked at.
    #[must_use]
    pub fn filter(&self) -> Filter {
        match self.no_seccomp || self.no_sandbox {
            true => Filter::None,
            false => self.seccomp_level,
        }
    }

    /// What is asked for and cannot be had, with the reason.
    #[must_use]
    pub fn refused(&self) -> Option<(&'static str, &'static str)> {
        let refused = [
            (
                self.seccomp_filter.is_some(),
                "--seccomp-filter",
                "the filters belong to the program and fit its threads, which are not Firecracker's; leave it out, or use --seccomp-level",
            ),
            (
                self.enable_pci,
                "--enable-pci",
                "this hull-vmm has no PCI, and its devices are virtio-mmio; leave it out",
            ),
        ];
        let mut asked = refused.into_iter().filter(|(asked, ..)| *asked);
        asked.next().map(|(_, flag, reason)| (flag, reason))
    }
}

fn parse_level(level: &str) -> Result<Filter, String> {
    match level {
        "0" => Ok(Filter::None),
        "1" => Ok(Filter::Numbers),
        "2" => Ok(Filter::Arguments),
        _ => Err("it must be 0, 1 or 2".to_owned()),
    }
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
