//! The project's chores: `cargo xtask COMMAND`. Each command is one module.

mod agent;
mod api_diff;
mod bench;
mod clients;
mod demo;
mod fuzz;
mod images;
mod install;
mod kernel;
mod lint;
mod man;
mod paths;
mod process;
mod seccomp;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds what a microVM needs, and runs the project's checks"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the guest kernel; a build with the same inputs is taken from the cache
    Kernel(kernel::Args),
    /// Build the agent and the initramfs that carries it
    Agent(agent::Args),
    /// Make the OCI images that the tests and `make run` use
    Images(images::Args),
    /// Print how the API of a microVM differs from Firecracker's
    ApiDiff,
    /// Install what others wrote to drive Hull with in tests
    Clients(clients::Args),
    /// Build everything, boot a microVM and print from a container in it
    Run,
    /// Run the tests
    Test(test::Args),
    /// Run the fuzz targets
    Fuzz(fuzz::Args),
    /// Measure Hull and its peers side by side
    Bench(bench::Args),
    /// Tell which system calls hull-vmm allows itself and no test makes
    Seccomp(seccomp::Args),
    /// Check formatting, clippy and licences
    Lint,
    /// Write the manual pages to target/man
    Man,
    /// Install Hull below a prefix
    Install(install::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Kernel(args) => kernel::run(&args),
        Command::Agent(args) => agent::run(&args),
        Command::Images(args) => images::run(&args),
        Command::ApiDiff => api_diff::run(),
        Command::Clients(args) => clients::run(&args),
        Command::Run => demo::run(),
        Command::Test(args) => test::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Seccomp(args) => seccomp::run(&args),
        Command::Lint => lint::run(),
        Command::Man => man::run(),
        Command::Install(args) => install::run(&args),
    };
    // Without a backtrace: what matters stands above, and is to be the last that is read.
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
