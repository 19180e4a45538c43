//! Hull and its peers, measured side by side in one run.
//!
//! Every figure is the median of several rounds, in which the contestants take turns, so that a noisy
//! machine is noisy for all of them. What is compared is printed as a ratio to Hull. QEMU's microvm
//! takes part where `qemu-system-x86_64` is installed, Firecracker where `FIRECRACKER` names its binary.

mod guests;
mod images;
mod machines;
mod measure;
mod report;
mod runs;

use clap::{Parser, ValueEnum};

use machines::Machines;
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
    let machines = Machines::find()?;
    let mut report = Report::new(cli.only);

    if report.wants("first instruction") {
        machines.first_instruction(rounds * 3, &mut report)?;
    }
    if report.wants("kernel boot") {
        machines.kernel_boot(rounds, &mut report)?;
    }
    if report.wants("own memory") {
        machines.own_memory(&mut report)?;
    }
    if report.wants("hull run") {
        runs::measure(&machines.hull, rounds, &mut report)?;
    }
    if report.wants("image load") {
        images::measure(&machines.hull, rounds, &mut report)?;
    }
    match cli.format {
        Format::Table => report.print(),
        Format::Json => println!("{}", report.json()?),
    }
    Ok(())
}
