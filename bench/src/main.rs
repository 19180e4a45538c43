//! Hull and its peers, measured side by side in one run.
//!
//! Every figure is the median of several rounds, in which the contestants take turns, so that a noisy
//! machine is noisy for all of them. What is compared is printed as a ratio to Hull. QEMU's microvm
//! takes part where `qemu-system-x86_64` is installed, Firecracker where `FIRECRACKER` names its binary.

mod api;
mod boots;
mod contestants;
mod crowd;
mod daemon;
mod density;
mod docker;
mod guests;
mod http;
mod images;
mod loads;
mod measure;
mod memory;
mod network;
mod queues;
mod relay;
mod report;
mod runs;
mod split;

use clap::{Parser, ValueEnum};

use contestants::Contestants;
use network::Taps;
use report::Report;

#[derive(Debug, Parser)]
#[command(
    name = "hull-bench",
    about = "Measures Hull and its peers side by side"
)]
struct Cli {
    /// Rounds of each measurement; their median is printed
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    #[command(flatten)]
    density: density::Args,

    /// Only measurements with one of these words in their name
    only: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let rounds = cli.rounds.max(1);
    let taps = Taps::make()
        .inspect_err(|error| eprintln!("no network cards are measured: {error:#}"))
        .ok();
    let contestants = Contestants::find()?;
    let mut report = Report::new(cli.only);

    if report.wants("first instruction") {
        boots::first_instruction(&contestants, rounds * 3, &mut report)?;
    }
    if report.wants("kernel boot") {
        boots::kernel(&contestants, rounds, &mut report)?;
    }
    if report.wants("agent ready") {
        boots::agent(&contestants, rounds, &mut report)?;
    }
    if report.wants("own memory") {
        memory::measure(&contestants, taps.as_ref(), rounds.min(3), &mut report)?;
    }
    if report.wants("API") {
        api::measure(&contestants, rounds, &mut report)?;
    }
    if report.wants("snapshot load") {
        loads::measure(&contestants, rounds * 3, &mut report)?;
    }
    queues::measure(&contestants, taps.as_ref(), rounds, &mut report)?;
    if report.wants("hull run") {
        runs::measure(&contestants.hull, rounds, &mut report)?;
    }
    docker::measure(&contestants.hull, rounds, &mut report)?;
    crowd::measure(&contestants.hull, rounds, &mut report)?;
    if report.wants("density") {
        density::measure(&contestants.hull, &cli.density, &mut report)?;
    }
    if report.wants("image load") {
        images::measure(&contestants.hull, rounds, &mut report)?;
    }
    match cli.format {
        Format::Table => report.print(),
        Format::Json => println!("{}", report.json()?),
    }
    Ok(())
}
