//! The program: see the library for what it does.

use std::process::ExitCode;

use clap::Parser;
use hull_vmm::args::{Args, Command};
use hull_vmm::timeline::Timeline;

fn main() -> ExitCode {
    let timeline = Timeline::start();
    let args = Args::parse();
    let cause = match args.command {
        Some(Command::Probe) => hull_vmm::print_profile(),
        Some(Command::Seccomp) => hull_vmm::print_filters(),
        None if args.snapshot_version => hull_vmm::print_snapshot_version(None),
        None => match &args.describe_snapshot {
            Some(path) => hull_vmm::print_snapshot_version(Some(path)),
            None => hull_vmm::run(&args, timeline),
        },
    };
    ExitCode::from(cause.code())
}
